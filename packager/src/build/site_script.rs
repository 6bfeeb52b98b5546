//! What the original build's `configure` scripts found out, for those of the patched build.
//!
//! A package of the autotools spends much of its build on running the same tests again. A `configure` writes
//! their results to `config.log` ("Cache variables"), and reads a site script before its tests
//! (`CONFIG_SITE`; Autoconf manual, "Setting Site Defaults"): what that script sets is not tested again. The
//! original build stays as it is; only the patched one gets such a script.
//!
//! A result is taken over only where the test would find the same: from the same script, called in the same
//! place with the same arguments and variables, with macros that look at the compiler and the system. No file
//! that the fix changes may be named in the script or be part of what it compiled. And what `configure` wrote
//! must come out the same to the byte (`config.status` holds all of it), else everything is built once more
//! without.

use crate::error::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wrapper::Records;

/// Name prefixes of the variables that autoconf, automake, libtool, gettext, gnulib and pkg-config keep
/// results in. A package's own tests, with names of their own, may look at anything; those of the macro
/// archive (`ax_cv_`) often do more than to find a result (`AX_CHECK_GL` adds `-lm` on the way).
const PREFIXES: [&[u8]; 6] = [b"ac_cv_", b"am_cv_", b"lt_cv_", b"gt_cv_", b"gl_cv_", b"pkg_cv_"];
/// What was in the environment and on the command line, which a run has to see for itself; files that were
/// there.
const OWN: [&[u8]; 2] = [b"ac_cv_env_", b"ac_cv_file"];

/// The site script of a patched build, and what it is about.
#[derive(Debug)]
pub(crate) struct SiteScript {
    /// Directories below the build directory that have results to take over.
    places: Vec<PathBuf>,
    aside: PathBuf,
    build: PathBuf,
    script: PathBuf,
    used: PathBuf,
}

/// The results of one `configure`.
#[derive(Debug, PartialEq, Eq)]
struct ConfigureLog {
    /// The command line, as it stands in the log.
    command: Vec<u8>,
    /// `name=value`, quoted for the shell.
    results: Vec<Vec<u8>>,
    /// `name=value` of variables that influence it. They have to be as they were.
    variables: Vec<Vec<u8>>,
}

impl SiteScript {
    /// Writes the site script `config.site` to `to`, from the original build, whose tree is `aside` and was
    /// at `build`. `touched` are the files of the fix. `None` if there is nothing to take over.
    ///
    /// # Errors
    /// When the script cannot be written.
    pub(crate) fn write(
        to: &Path,
        (aside, build): (&Path, &Path),
        records: &Records,
        touched: &BTreeSet<PathBuf>,
    ) -> Result<Option<Self>> {
        Self::with(to, (aside, build), records, touched, false)
    }

    /// The same for a build in a copy of the original's tree: there a `configure` that would run as it ran
    /// has nothing to do, and ends at once.
    ///
    /// # Errors
    /// When the script cannot be written.
    pub(crate) fn unchanged(
        to: &Path,
        trees: (&Path, &Path),
        records: &Records,
        touched: &BTreeSet<PathBuf>,
    ) -> Result<Option<Self>> {
        Self::with(to, trees, records, touched, true)
    }

    fn with(
        to: &Path,
        (aside, build): (&Path, &Path),
        records: &Records,
        touched: &BTreeSet<PathBuf>,
        in_place: bool,
    ) -> Result<Option<Self>> {
        let names: BTreeSet<&[u8]> = touched.iter().filter_map(|f| Some(f.file_name()?.as_bytes())).collect();
        if tests_compile(records, &names) {
            return Ok(None);
        }
        let (script, used) = (to.join("config.site"), to.join("config.used"));
        let mut text = head(std::env::var_os("CONFIG_SITE").as_deref());
        let mut places = Vec::new();
        let logs = walkdir::WalkDir::new(aside).sort_by_file_name().into_iter().flatten();
        for entry in logs.filter(|e| e.file_name() == "config.log" && e.file_type().is_file()) {
            let Some(dir) = entry.path().parent() else { continue };
            let Some(below) = dir.strip_prefix(aside).ok().map(Path::to_path_buf) else { continue };
            let Some(log) = std::fs::read(entry.path()).ok().and_then(|l| ConfigureLog::read(&l)) else {
                continue;
            };
            let Some(configure) = log.configure(dir, aside, build) else { continue };
            if !dir.join("config.status").is_file() || names_any(&configure, &names) {
                continue;
            }
            let place = (places.len(), build.join(&below));
            log.script(&mut text, (place.0, &place.1), &configure, &used, in_place);
            places.push(below);
        }
        if places.is_empty() {
            return Ok(None);
        }
        // The script's own status is what `configure` looks at.
        text.extend_from_slice(b":\n");
        let _ = std::fs::remove_file(&used);
        std::fs::write(&script, text).at(&script)?;
        Ok(Some(Self { places, aside: aside.into(), build: build.into(), script, used }))
    }

    /// For `CONFIG_SITE`.
    pub(crate) fn script(&self) -> &Path {
        &self.script
    }

    /// Did any `configure` take something over?
    pub(crate) fn used(&self) -> bool {
        self.used.exists()
    }

    /// Did every `configure` that took something over come to the same end as in the original build?
    pub(crate) fn held(&self) -> bool {
        let used = std::fs::read_to_string(&self.used).unwrap_or_default();
        let used: BTreeSet<usize> = used.lines().filter_map(|l| l.parse().ok()).collect();
        let status = |tree: &Path, below: &Path| std::fs::read(tree.join(below).join("config.status")).ok();
        let same = |p: &PathBuf| status(&self.aside, p).is_some_and(|s| Some(s) == status(&self.build, p));
        used.into_iter().all(|place| self.places.get(place).is_some_and(same))
    }
}

impl ConfigureLog {
    /// Reads `config.log`. Values that are quoted in a way that not every shell knows are left out.
    fn read(log: &[u8]) -> Option<Self> {
        let mut lines = log.split(|b| *b == b'\n');
        let command = lines.find(|l| l.starts_with(b"  $ "))?.to_vec();
        let (mut results, mut variables) = (Vec::new(), Vec::new());
        lines.find(|l| *l == b"## Cache variables. ##")?;
        for line in lines.take_while(|l| *l != b"## Output variables. ##") {
            let Some(equals) = line.iter().position(|b| *b == b'=') else { continue };
            let (name, value) = (&line[..equals], &line[equals + 1..]);
            if !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                continue;
            }
            if name.starts_with(OWN[0]) {
                // What cannot be compared cannot be known to be the same.
                if !plain(value) {
                    return None;
                }
                variables.push(line.to_vec());
            } else if !plain(value) {
                continue;
            } else if PREFIXES.iter().any(|p| name.starts_with(p)) && !OWN.iter().any(|p| name.starts_with(p))
            {
                results.push(line.to_vec());
            }
        }
        (!results.is_empty()).then_some(Self { command, results, variables })
    }

    /// The path where the script that was run lies now.
    fn configure(&self, dir: &Path, aside: &Path, build: &Path) -> Option<PathBuf> {
        let word = self.command.get(4..)?.split(|b| *b == b' ').next()?;
        let script = Path::new(OsStr::from_bytes(word));
        let script = match script.strip_prefix(build) {
            Ok(below) => aside.join(below),
            Err(_) => dir.join(script),
        };
        (script.starts_with(aside) && script.is_file()).then_some(script)
    }

    /// Appends the part of the site script for a `configure` that runs in `dir`. `in_place` says that what it
    /// would write is there.
    fn script(
        &self,
        text: &mut Vec<u8>,
        (place, dir): (usize, &Path),
        configure: &Path,
        used: &Path,
        in_place: bool,
    ) {
        let path = |p: &Path| quoted(p.as_os_str().as_bytes());
        let mut add = |part: &[u8]| text.extend_from_slice(part);
        add(b"if test \"x`pwd`\" = x");
        add(&path(dir));
        add(b" && cmp -s \"$0\" ");
        add(&path(configure));
        // Autoconf before 2.70 writes the arguments to the log as they are, later ones quote them.
        let command = quoted(&self.command);
        for (start, line) in
            [(&b" &&\n { test "[..], "\"  \\$ $0 $*\""), (b" || test ", "\"  \\$ $0$ac_configure_args_raw\"")]
        {
            add(start);
            add(line.as_bytes());
            add(b" = ");
            add(&command);
        }
        add(b"; }");
        for variable in &self.variables {
            let Some(equals) = variable.iter().position(|b| *b == b'=') else { continue };
            add(b" &&\n test \"x$");
            add(&variable[..equals]);
            add(b"\" = x");
            add(&variable[equals + 1..]);
        }
        add(format!("\nthen\n echo {place} >> ").as_bytes());
        add(&path(used));
        add(b"\n");
        if in_place {
            add(b" exit 0\n");
        }
        for result in &self.results {
            add(b" ");
            add(result);
            add(b"\n");
        }
        add(b"fi\n");
    }
}

/// The scripts that `configure` would have read: those of the user's `CONFIG_SITE`, else those of the prefix.
fn head(theirs: Option<&OsStr>) -> Vec<u8> {
    let mut text = b"# Results of the original build, written by upatch-build.\n".to_vec();
    match theirs {
        Some(theirs) if !theirs.is_empty() => {
            text.extend_from_slice(b"upatch_sites=");
            text.extend_from_slice(&quoted(theirs.as_bytes()));
        }
        _ => text.extend_from_slice(
            b"upatch_prefix=$prefix\ntest \"x$upatch_prefix\" = xNONE && upatch_prefix=$ac_default_prefix\n\
              upatch_sites=\"$upatch_prefix/share/config.site $upatch_prefix/etc/config.site\"",
        ),
    }
    text.extend_from_slice(
        b"\nfor upatch_site in $upatch_sites; do\n case $upatch_site in */*) ;; *) \
         upatch_site=./$upatch_site ;; esac\n \
          if test -r \"$upatch_site\"; then . \"$upatch_site\"; fi\ndone\n",
    );
    text
}

/// Is the value quoted in a way that every shell reads alike: plain characters, and parts in single quotes?
fn plain(value: &[u8]) -> bool {
    let mut inside = false;
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => inside = !inside,
            _ if inside => {}
            b'\\' if bytes.next() == Some(&b'\'') => {}
            b if b.is_ascii_alphanumeric() || b"_./:+,@%=-".contains(b) => {}
            _ => return false,
        }
    }
    !inside
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let inner = text.iter().flat_map(|b| if *b == b'\'' { b"'\\''".to_vec() } else { vec![*b] });
    [b'\''].into_iter().chain(inner).chain([b'\'']).collect()
}

/// Does the script name a file of the fix? `AC_CONFIG_SRCDIR` asks only whether its file is there.
fn names_any(configure: &Path, names: &BTreeSet<&[u8]>) -> bool {
    let Ok(text) = std::fs::read(configure) else { return true };
    let lines = text.split(|b| *b == b'\n').filter(|l| !l.starts_with(b"ac_unique_file="));
    let lines: Vec<&[u8]> = lines.collect();
    names.iter().any(|name| lines.iter().any(|line| memchr::memmem::find(line, name).is_some()))
}

/// Did a test program include a file of the fix?
fn tests_compile(records: &Records, names: &BTreeSet<&[u8]>) -> bool {
    let name = |path: &wrapper::OsBytes| path.as_path().file_name().map(|n| n.as_bytes().to_vec());
    let tests = records.units.iter().filter(|u| name(&u.source).is_some_and(|n| n.starts_with(b"conftest.")));
    tests.flat_map(|u| &u.deps).any(|d| name(&d.path).is_some_and(|n| names.contains(&n[..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "It was created by x configure 1\n\n  $ ./configure --prefix=/usr CC=gcc\n\n## Core \
     tests. ##\n\n\
        ## Cache variables. ##\n## ---- \
        ##\n\nac_cv_env_CC_set=set\nac_cv_env_CC_value=gcc\nac_cv_header_stdio_h=yes\n\
        ac_cv_file__etc_motd=yes\nlt_cv_pipe='sed -e \
        '\\''s/x/y/'\\'''\nown_cv_version=1.2\nax_cv_check_gl=-lGL\nac_cv_odd=$'a\\tb'\n\n\
        ## Output variables. ##\nac_cv_not='x'\n";
    /// A `configure` that does what matters here: it reads the site script and prints the results that it has
    /// then.
    const CONFIGURE: &str = "ac_unique_file=\"src/a.c\"\nac_cv_env_CC_set=${CC+set}\nac_cv_env_CC_value=$CC\n\
        . \"$CONFIG_SITE\" || exit 1\necho \"$ac_cv_header_stdio_h $lt_cv_pipe\"\n# config.h.in\n";

    /// An original and a patched tree; the fix changes one file.
    fn made(fix: &str) -> (tempfile::TempDir, Option<SiteScript>) {
        let work = tempfile::tempdir().unwrap();
        let (aside, build) = (work.path().join("aside"), work.path().join("build"));
        for tree in [&aside, &build] {
            std::fs::create_dir_all(tree.join("p")).unwrap();
            std::fs::write(tree.join("p/configure"), CONFIGURE).unwrap();
            std::fs::write(tree.join("p/config.status"), "S").unwrap();
        }
        std::fs::write(aside.join("p/config.log"), LOG).unwrap();
        let touched = BTreeSet::from([PathBuf::from(fix)]);
        let made = SiteScript::write(work.path(), (&aside, &build), &Records::default(), &touched).unwrap();
        (work, made)
    }

    #[test]
    fn results_of_macros_that_look_at_the_system_are_read() {
        let log = ConfigureLog::read(LOG.as_bytes()).unwrap();
        assert_eq!(log.command, b"  $ ./configure --prefix=/usr CC=gcc");
        let results = [&b"ac_cv_header_stdio_h=yes"[..], b"lt_cv_pipe='sed -e '\\''s/x/y/'\\'''"];
        assert_eq!(log.results, results);
        assert_eq!(log.variables, [&b"ac_cv_env_CC_set=set"[..], b"ac_cv_env_CC_value=gcc"]);
        let odd = LOG.replace("CC_value=gcc", "CC_value=$'a\\n'");
        assert_eq!(ConfigureLog::read(odd.as_bytes()), None);
    }

    fn run(dir: &Path, site: &Path, args: &[&str], cc: Option<&str>) -> String {
        let mut command = std::process::Command::new("/bin/sh");
        command.arg("./configure").args(args).current_dir(dir).env("CONFIG_SITE", site).env_remove("CC");
        if let Some(cc) = cc {
            command.env("CC", cc);
        }
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn they_are_taken_over_in_the_same_place_with_the_same_script_arguments_and_variables() {
        let (work, made) = made("src/a.c");
        let made = made.unwrap();
        let dir = work.path().join("build/p");
        let args = ["--prefix=/usr", "CC=gcc"];
        assert_eq!(run(&dir, made.script(), &["--prefix=/opt", "CC=gcc"], Some("gcc")), "");
        assert_eq!(run(&dir, made.script(), &args, Some("clang")), "");
        assert_eq!(run(&dir, made.script(), &args, None), "");
        assert_eq!(run(&work.path().join("aside/p"), made.script(), &args, Some("gcc")), "");
        assert!(!made.used());
        assert_eq!(run(&dir, made.script(), &args, Some("gcc")), "yes sed -e 's/x/y/'");
        assert!(made.used() && made.held());
        std::fs::write(dir.join("config.status"), "T").unwrap();
        assert!(!made.held());
        std::fs::write(dir.join("configure"), format!("{CONFIGURE}#\n")).unwrap();
        assert_eq!(run(&dir, made.script(), &args, Some("gcc")), "");
    }

    #[test]
    fn a_script_that_names_a_file_of_the_fix_is_run_as_it_is() {
        assert!(made("config.h.in").1.is_none());
        assert!(made("src/other.c").1.is_some());
    }

    #[test]
    fn the_users_own_site_scripts_are_read_first() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, "first=1\n").unwrap();
        std::fs::write(&two, "second=$first\n").unwrap();
        let theirs = format!("{} {} /none", one.display(), two.display());
        let mut text = head(Some(OsStr::new(&theirs)));
        text.extend_from_slice(b"echo $second");
        let mut shell = std::process::Command::new("/bin/sh");
        let out = shell.arg("-ec").arg(OsStr::from_bytes(&text)).output().unwrap();
        assert_eq!(out.stdout, b"1\n");
    }
}
