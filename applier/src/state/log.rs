//! What was done, when, to which process: one JSON object per line, appended.

use super::clock::{now, timestamp};
use crate::sys::plain;
use patchfile::{Uuid, paths};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Size in bytes at which the log is put aside as `log.1`, replacing the one before.
const LARGEST: u64 = 8 << 20;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When, RFC 3339 in UTC.
    pub when: String,
    /// The verb, `daemon` for what the service did by itself.
    pub verb: String,
    /// `<package>/<PATCH>`.
    pub patch: String,
    /// Identity of the patch.
    pub uuid: Uuid,
    /// The process; absent where the event is about the patch as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Name of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Who asked for it; absent where it was the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What came out of it.
    pub outcome: String,
}

impl Event {
    /// An event that happens now.
    pub(crate) fn new(verb: &str, patch: &str, uuid: Uuid, outcome: impl Into<String>) -> Self {
        let when = timestamp(now());
        let (verb, patch) = (verb.into(), patch.into());
        let user = (verb != SERVICE).then(who).flatten();
        Self { when, verb, patch, uuid, pid: None, comm: None, user, outcome: outcome.into() }
    }

    /// The event with the process that it is about.
    pub(crate) fn on(self, pid: i32, comm: &str) -> Self {
        Self { pid: Some(pid), comm: Some(comm.into()), ..self }
    }
}

/// What the service writes as its verb.
pub(crate) const SERVICE: &str = "daemon";

/// Who runs this: whoever became root by sudo(8), else the user of this process.
fn who() -> Option<String> {
    // A command writes an event for each process.
    static WHO: OnceLock<Option<String>> = OnceLock::new();
    WHO.get_or_init(look_up).clone()
}

fn look_up() -> Option<String> {
    let of_sudo = std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty());
    let printable = |user: String| user.chars().filter(|c| !c.is_control()).collect();
    of_sudo.map(printable).or_else(|| Some(nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??.name))
}

fn path(root: &Path) -> PathBuf {
    root.join(paths::STATE).join("log")
}

/// Appends `events` to the log of `root`.
///
/// # Errors
/// It cannot be written. What was done is done all the same; the caller says so and goes on.
pub(crate) fn append(root: &Path, events: &[Event]) -> io::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let path = path(root);
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    if fs::metadata(&path).is_ok_and(|m| m.len() > LARGEST) {
        fs::rename(&path, path.with_extension("1"))?;
    }
    let mut text = String::new();
    for event in events {
        text.push_str(&serde_json::to_string(event).map_err(io::Error::other)?);
        text.push('\n');
    }
    let flags = nix::libc::O_NOFOLLOW;
    let mut file = File::options().append(true).create(true).mode(0o644).custom_flags(flags).open(path)?;
    file.write_all(text.as_bytes())
}

/// Was anything ever logged for `root`? Then there was a state file too.
pub(crate) fn has_log(root: &Path) -> bool {
    path(root).exists()
}

/// Reads the log of `root`, oldest first. A line that a crash cut short is left out.
///
/// # Errors
/// It is there and cannot be read.
pub(crate) fn read_log(root: &Path) -> io::Result<Vec<Event>> {
    let path = path(root);
    let mut events = Vec::new();
    for path in [path.with_extension("1"), path] {
        match plain::text(path, 2 * LARGEST) {
            Ok(text) => events.extend(text.lines().filter_map(|l| serde_json::from_str(l).ok())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let event =
            Event::new("apply", "p-1-1/A", Uuid::from_bytes([1; 16]), "patched").on(7, "redis-server");
        append(root.path(), &[event.clone(), event.clone()]).unwrap();
        let text = fs::read_to_string(path(root.path())).unwrap();
        fs::write(path(root.path()), &text[..text.len() - 9]).unwrap();
        assert_eq!(read_log(root.path()).unwrap(), [event]);
    }
}
