//! Processes that are left alone: their program says so by a note, or the administrator by the settings.

use super::systemd_unit::SystemdUnit;
use crate::catalog::elf_file;
use serde::Deserialize;
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// What the reason of each process that is left alone begins with.
pub(crate) const LEFT_ALONE: &str = "left alone: ";

/// Who is left alone by the settings, whatever command is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OptOut {
    /// Paths of programs.
    programs: Vec<String>,
    /// Names or numbers of users.
    users: Vec<String>,
    /// Names of systemd's units.
    units: Vec<String>,
}

impl OptOut {
    /// Why this process is left alone, if it is.
    pub(crate) fn why(&self, pid: i32) -> Option<String> {
        let process = format!("/proc/{pid}");
        let link = Path::new(&process).join("exe");
        let has_note = || elf_file(&fs::File::open(&link).ok()?, false).ok()?;
        if has_note().is_some_and(|elf| elf.opts_out) {
            return Some(format!("{LEFT_ALONE}its program asks for it (a note of upatch)"));
        }
        let by_settings = |what: &str| Some(format!("{LEFT_ALONE}{what} (opt_out in upatch.yaml)"));
        let program = || fs::read_link(&link).ok().map(|path| path.display().to_string());
        if let Some(program) = program().filter(|_| !self.programs.is_empty()) {
            let name = program.strip_suffix(" (deleted)").unwrap_or(&program);
            if self.programs.iter().any(|p| p == name) {
                return by_settings(&format!("program {name}"));
            }
        }
        if !self.users.is_empty()
            && let Ok(meta) = fs::metadata(&process)
            && let Some(user) = self.users.iter().find(|user| is(user, meta.uid()))
        {
            return by_settings(&format!("user {user}"));
        }
        let unit = if self.units.is_empty() { SystemdUnit::None } else { SystemdUnit::of(pid) };
        let unit = unit.name().filter(|unit| self.has_unit(unit))?;
        by_settings(&format!("unit {unit}"))
    }

    /// A name without a kind means a service, as with systemctl.
    fn has_unit(&self, unit: &str) -> bool {
        self.units.iter().any(|u| u == unit || unit.strip_suffix(".service") == Some(u))
    }
}

/// Does the name, or number, stand for the user with this id?
fn is(user: &str, uid: u32) -> bool {
    match user.parse::<u32>() {
        Ok(number) => number == uid,
        Err(_) => matches!(nix::unistd::User::from_name(user), Ok(Some(found)) if found.uid.as_raw() == uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_program_user_and_unit() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let of = |text: &str| serde_yaml::from_str::<OptOut>(text).unwrap().why(pid);
        let exe = std::env::current_exe().unwrap();
        let program = of(&format!("programs: [/bin/other, {}]", exe.display()));
        assert_eq!(
            program.unwrap(),
            format!("left alone: program {} (opt_out in upatch.yaml)", exe.display())
        );
        let uid = nix::unistd::geteuid();
        assert!(of(&format!("users: [{uid}]")).unwrap().contains(&format!("user {uid}")));
        let name = nix::unistd::User::from_uid(uid).unwrap().unwrap().name;
        assert!(of(&format!("users: [no-such-user, {name}]")).unwrap().contains(&name));
        assert_eq!(of("{programs: [/bin/other], users: [4242], units: [nginx]}"), None);
        let units = serde_yaml::from_str::<OptOut>("units: [nginx, a.scope]").unwrap();
        assert!(units.has_unit("nginx.service") && units.has_unit("a.scope") && !units.has_unit("a.service"));
        assert!(serde_yaml::from_str::<OptOut>("user: [root]").is_err());
    }
}
