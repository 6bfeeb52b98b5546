//! Units that differ only because a generated file holds the time of the build.
//!
//! Redis writes host and time into `release.h` with each build, others write `build-date.c`. Such a difference is no
//! change of the fix's. An input counts as a stamp only if it is equal once the times that lie within the respective build are masked.
//! A unit in which nothing else differs is no change; one that the fix changes too is compared with the stamps of the original.

use crate::error::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use wrapper::{Dep, OsBytes, UnitRecord};

/// When a build ran, in seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// First second.
    pub start: u64,
    /// Last second.
    pub end: u64,
}

/// Title of the warnings.
pub const WHAT: &str = "build stamp";

/// What they say.
pub const WHY: &str =
    "it holds the time of the build, hence differs with every build; the running program keeps its own";

/// Hashes of an input that holds the time of the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// In the original build.
    pub original: String,
    /// In the patched one.
    pub patched: String,
}

/// Inputs of a unit that hold the time of the build.
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    /// The files.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// Nothing else differs between the two builds of the unit.
    pub nothing_else: bool,
}

/// Looks for inputs that differ between the two units by a stamp only.
///
/// `files` are the files that the fix changes; `read` gives the content of an input of the original (`false`) or the patched
/// (`true`) build, if it still is what was recorded.
pub fn stamps(
    original: &UnitRecord,
    patched: &UnitRecord,
    windows: (Window, Window),
    files: &[PathBuf],
    read: impl Fn(&Path, &str, bool) -> Option<Vec<u8>>,
) -> Stamps {
    let before: HashMap<&OsBytes, &str> =
        original.deps.iter().map(|d| (&d.path, d.sha256.as_str())).collect();
    let is_stamp = |path: &Path, old: &str, new: &str| {
        if files.iter().any(|f| path.ends_with(f)) {
            return false;
        }
        let (Some(old), Some(new)) = (read(path, old, false), read(path, new, true)) else { return false };
        equal_but_for_times(&old, &new, windows)
    };
    let mut found = Stamps {
        files: BTreeMap::new(),
        nothing_else: original.expanded_argv == patched.expanded_argv
            && original.deps.len() == patched.deps.len(),
    };
    for dep in &patched.deps {
        let path = dep.path.as_path();
        match before.get(&dep.path) {
            Some(hash) if **hash == dep.sha256 => {}
            Some(hash) if is_stamp(path, hash, &dep.sha256) => {
                let stamp = Stamp { original: (*hash).to_owned(), patched: dep.sha256.clone() };
                found.files.insert(path.to_path_buf(), stamp);
            }
            _ => found.nothing_else = false,
        }
    }
    found
}

/// Is one what the other is, but for the times of the respective build?
pub(super) fn equal_but_for_times(old: &[u8], new: &[u8], windows: (Window, Window)) -> bool {
    mask(old, windows.0) == mask(new, windows.1)
}

/// Gives the patched tree at `build` the stamps of the original one at `aside`, so that units with them can be compared.
///
/// # Errors
/// A file cannot be copied.
pub(super) fn take_over(stamped: &BTreeMap<PathBuf, Stamp>, build: &Path, aside: &Path) -> Result<()> {
    for path in stamped.keys() {
        let Ok(below) = path.strip_prefix(build) else { continue };
        // A file of its own, for it may be read-only or have other names.
        std::fs::remove_file(path)
            .and_then(|()| std::fs::copy(aside.join(below), path))
            .what(path.to_string_lossy())?;
    }
    Ok(())
}

/// Makes the stamps of the original build the inputs of a unit of the patched one. One that read such a file with other contents is left
/// as it is: then it cannot be compiled again, which is told.
pub(super) fn restamp(deps: &mut [Dep], stamped: &BTreeMap<PathBuf, Stamp>) {
    for dep in deps {
        if let Some(stamp) = stamped.get(dep.path.as_path()).filter(|stamp| stamp.patched == dep.sha256) {
            dep.sha256.clone_from(&stamp.original);
        }
    }
}

/// Replaces seconds (and milliseconds) since the epoch that lie in the window, and times of day `HH:MM:SS` in it (UTC or
/// any whole quarter of an hour away from it: local time).
fn mask(text: &[u8], window: Window) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if let Some(len) = clock(rest, window).filter(|_| at == 0 || !text[at - 1].is_ascii_digit()) {
            out.extend_from_slice(b"<time>");
            at += len;
            continue;
        }
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            out.push(text[at]);
            at += 1;
            continue;
        }
        let number: Option<u64> = std::str::from_utf8(&rest[..digits]).ok().and_then(|t| t.parse().ok());
        let seconds = number.map(|n| if digits == 13 { n / 1000 } else { n });
        // A second of play: a clock may be read just before the build is said to start.
        if matches!(digits, 10 | 13)
            && seconds.is_some_and(|s| (window.start.saturating_sub(2)..=window.end + 2).contains(&s))
        {
            out.extend_from_slice(b"<time>");
        } else {
            out.extend_from_slice(&rest[..digits]);
        }
        at += digits;
    }
    out
}

/// Length of a time of day within the window.
fn clock(text: &[u8], window: Window) -> Option<usize> {
    let time = text.get(..8)?;
    if text.get(8).is_some_and(u8::is_ascii_digit) || time[2] != b':' || time[5] != b':' {
        return None;
    }
    let two = |at: usize| -> Option<u64> {
        let digit = |b: u8| b.is_ascii_digit().then(|| u64::from(b - b'0'));
        Some(digit(time[at])? * 10 + digit(time[at + 1])?)
    };
    let seconds = (two(0)? * 3600 + two(3)? * 60 + two(6)?) % 900;
    let (start, length) = (window.start.saturating_sub(2), window.end + 2 - window.start.saturating_sub(2));
    let since = (seconds + 900 - start % 900) % 900;
    (since <= length).then_some(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Window = Window { start: 1_700_000_000, end: 1_700_000_100 };
    const TWO: Window = Window { start: 1_700_001_000, end: 1_700_001_100 };

    #[test]
    fn times_of_the_build_are_masked() {
        let old = mask(b"#define ID \"host-1700000050\"", ONE);
        assert_eq!(old, mask(b"#define ID \"host-1700001003\"", TWO));
        // 1700000050 is 22:14:10 UTC.
        assert_eq!(mask(b"at 22:14:10.", ONE), b"at <time>.");
        assert_eq!(mask(b"at 00:14:10.", ONE), b"at <time>.");
    }

    #[test]
    fn only_the_contents_that_were_compared_are_restamped() {
        let stamp = Stamp { original: "old".into(), patched: "new".into() };
        let stamped = BTreeMap::from([(PathBuf::from("/b/release.h"), stamp)]);
        let dep = |path: &str, hash: &str| Dep { path: path.into(), sha256: hash.into() };
        let mut deps =
            [dep("/b/release.h", "new"), dep("/b/release.h", "before that"), dep("/b/other.h", "new")];
        restamp(&mut deps, &stamped);
        assert_eq!(deps.map(|d| d.sha256), ["old", "before that", "new"]);
    }

    #[test]
    fn other_numbers_are_not() {
        assert_eq!(mask(b"limit 1600000000", ONE), b"limit 1600000000");
        assert_eq!(mask(b"limit 17000000500", ONE), b"limit 17000000500");
        assert_eq!(mask(b"22:20:10", ONE), b"22:20:10");
    }
}
