//! Units that differ only because a generated file holds the time of the build.
//!
//! Redis writes host and time into `release.h` with each build, others write `build-date.c`. Such a
//! difference is no change of the fix's. An input counts as a stamp only if it is equal once the times that
//! lie within the respective build are masked. A unit in which nothing else differs is no change; one that
//! the fix changes too is compared with the stamps of the original.

use crate::error::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use wrapper::{Dep, OsBytes, UnitRecord};

/// When a build ran, in seconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// First second.
    pub start: u64,
    /// Last second.
    pub end: u64,
}

/// Title of the warnings.
pub(crate) const WHAT: &str = "build stamp";

/// What they say.
pub(crate) const WHY: &str =
    "it holds the time of the build, hence differs with every build; the running program keeps its own";

/// Hashes of an input that holds the time of the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// In the original build.
    pub original: String,
    /// In the patched one.
    pub patched: String,
}

/// Inputs of a unit that hold the time of the build.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamps {
    /// The files.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// The command holds it too.
    pub in_command: bool,
    /// Nothing else differs between the two builds of the unit.
    pub nothing_else: bool,
}

/// Looks for inputs that differ between the two units by a stamp only.
///
/// `files` are the files that the fix changes; `read` gives the content of an input of the original (`false`)
/// or the patched (`true`) build, if it still is what was recorded.
pub(crate) fn stamps(
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
    let command = stamped_command(&original.expanded_argv, &patched.expanded_argv, windows);
    let mut found = Stamps {
        files: BTreeMap::new(),
        in_command: command != patched.expanded_argv,
        nothing_else: command == original.expanded_argv && original.deps.len() == patched.deps.len(),
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

/// The patched build's command for a unit with the times of the original's.
pub(super) fn stamped_command(
    original: &[OsBytes],
    patched: &[OsBytes],
    windows: (Window, Window),
) -> Vec<OsBytes> {
    if original.len() != patched.len() {
        return patched.to_vec();
    }
    let word = |(old, new): (&OsBytes, &OsBytes)| {
        let stamp = equal_but_for_times(old.as_bytes(), new.as_bytes(), windows);
        if stamp { old.clone() } else { new.clone() }
    };
    original.iter().zip(patched).map(word).collect()
}

/// Are both the same, but for the times of the respective build?
pub(crate) fn equal_but_for_times(old: &[u8], new: &[u8], windows: (Window, Window)) -> bool {
    mask(old, windows.0) == mask(new, windows.1)
}

/// Are two objects, whose inputs and commands are the same, equal but for the time at which each was
/// compiled (`__TIME__`)?
pub(crate) fn only_clocks_differ(
    original: &UnitRecord,
    patched: &UnitRecord,
    windows: (Window, Window),
) -> bool {
    let known = |unit: &UnitRecord| unit.untracked.is_none() && unit.not_recompilable.is_none();
    let read = |unit: &UnitRecord| std::fs::read(&unit.stored).ok();
    match (read(original), read(patched)) {
        (Some(old), Some(new)) if known(original) && known(patched) && original.env == patched.env => {
            old.len() == new.len() && equal_but_for_times(&old, &new, windows)
        }
        _ => false,
    }
}

/// Gives the patched tree at `build` the stamps of the original one at `aside`, so that units with them can
/// be compared.
///
/// # Errors
/// A file cannot be copied.
pub(super) fn take_over(stamped: &BTreeMap<PathBuf, Stamp>, build: &Path, aside: &Path) -> Result<()> {
    for path in stamped.keys() {
        let Ok(below) = path.strip_prefix(build) else { continue };
        // A file of its own, for it may be read-only or have other names.
        std::fs::remove_file(path).and_then(|()| std::fs::copy(aside.join(below), path)).at(path)?;
    }
    Ok(())
}

/// Makes the stamps of the original build the inputs of a unit of the patched one. One that read such a file
/// with other contents is left as it is: then it cannot be compiled again, which is told.
pub(super) fn restamp(deps: &mut [Dep], stamped: &BTreeMap<PathBuf, Stamp>) {
    for dep in deps {
        if let Some(stamp) = stamped.get(dep.path.as_path()).filter(|stamp| stamp.patched == dep.sha256) {
            dep.sha256.clone_from(&stamp.original);
        }
    }
}

/// Replaces times that lie in the window: seconds since the epoch (also in smaller units), dates with a time
/// of day without separators (`20261130154700`, `20261130T1547`, `261130154700`) and times of day `HH:MM:SS`,
/// the latter in UTC or any whole quarter of an hour away from it: local time.
fn mask(text: &[u8], window: Window) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let apart = at == 0 || !text[at - 1].is_ascii_digit();
        if let Some(len) = clock(rest, window).filter(|_| apart) {
            out.extend_from_slice(b"<time>");
            at += len;
            continue;
        }
        let digits = digits(rest);
        if digits == 0 {
            out.push(text[at]);
            at += 1;
            continue;
        }
        if let Some(len) = compact(rest, digits, window) {
            out.extend_from_slice(b"<time>");
            at += len;
            continue;
        }
        let number: Option<u64> = std::str::from_utf8(&rest[..digits]).ok().and_then(|t| t.parse().ok());
        // Seconds, or thousandths of them of some power.
        let scale = digits.checked_sub(10).filter(|more| more % 3 == 0 && *more <= 9);
        let seconds = number.zip(scale).map(|(n, more)| n / 10u64.pow(u32::try_from(more).unwrap_or(0)));
        if seconds.is_some_and(|s| window.holds(s)) {
            out.extend_from_slice(b"<time>");
        } else {
            out.extend_from_slice(&rest[..digits]);
        }
        at += digits;
    }
    out
}

impl Window {
    /// With a second or two of play: a clock may be read just before the build is said to start.
    fn holds(self, seconds: u64) -> bool {
        (self.start.saturating_sub(2)..=self.end + 2).contains(&seconds)
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Length of a date and time of day without separators, or with one between the two, if that is within the
/// window, in some time zone. `first` is the number of digits that the text begins with.
fn compact(text: &[u8], first: usize, window: Window) -> Option<usize> {
    let (date, time, len) = match first {
        14 => (&text[..8], &text[8..14], 14),
        12 if text.starts_with(b"20") => (&text[..8], &text[8..12], 12),
        12 => (&text[..6], &text[6..12], 12),
        8 if b"T_-. ".contains(text.get(8)?) => match digits(&text[9..]) {
            time @ (4 | 6) => (&text[..8], &text[9..9 + time], 9 + time),
            _ => return None,
        },
        _ => return None,
    };
    let two =
        |of: &[u8], at: usize| Some(u64::from(of.get(at)? - b'0') * 10 + u64::from(of.get(at + 1)? - b'0'));
    let short = date.len() - 6;
    let year = if short == 0 { 2000 + two(date, 0)? } else { two(date, 0)? * 100 + two(date, 2)? };
    let day = super::dates::days(year, two(date, short + 2)?, two(date, short + 4)?)?;
    let (hours, minutes) = (two(time, 0)?, two(time, 2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = day * 86400 + hours * 3600 + minutes * 60;
    // Without seconds any of that minute is meant.
    let all = match two(time, 4) {
        Some(s) => s..=s,
        None => 0..=59,
    };
    let zones = (-14 * 4..=14 * 4).filter_map(|quarter: i64| seconds.checked_add_signed(quarter * 900));
    let mut zones = zones.flat_map(|at| all.clone().map(move |s| at + s));
    zones.any(|at| window.holds(at)).then_some(len)
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
    fn times_without_separators_are_masked() {
        // 2023-11-14 22:14:10 UTC, and two hours further.
        for text in ["20231114221410", "20231114T2214", "20231115-001410", "231114221410", "202311142214"] {
            assert_eq!(mask(text.as_bytes(), ONE), b"<time>", "{text}");
        }
        for text in [
            "20231114223410",
            "20231014221410",
            "20231114T22:3",
            "2023111422141",
            "991114221410",
            "20231314221410",
        ] {
            assert_eq!(mask(text.as_bytes(), ONE), text.as_bytes(), "{text}");
        }
        assert_eq!(mask(b"1700000050123456789", ONE), b"<time>");
    }

    #[test]
    fn times_in_commands_are_those_of_the_original() {
        let words = |words: &[&str]| words.iter().map(|w| OsBytes::from(*w)).collect::<Vec<_>>();
        let old = words(&["-DN=1", "-DT=1700000050"]);
        let made = |new: &[&str]| stamped_command(&old, &words(new), (ONE, TWO));
        assert_eq!(made(&["-DN=1", "-DT=1700001003"]), old);
        assert_eq!(made(&["-DN=2", "-DT=1700001003"]), words(&["-DN=2", "-DT=1700000050"]));
        assert_eq!(made(&["-DT=1700001003"]), words(&["-DT=1700001003"]));
    }

    #[test]
    fn other_numbers_are_not() {
        assert_eq!(mask(b"limit 1600000000", ONE), b"limit 1600000000");
        assert_eq!(mask(b"limit 17000000500", ONE), b"limit 17000000500");
        assert_eq!(mask(b"22:20:10", ONE), b"22:20:10");
    }
}
