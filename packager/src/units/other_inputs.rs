//! Did anything but a compiler read what the fix's files hold besides the fix: the directives that keep line
//! numbers?
//!
//! A script makes a table of a header's lines, a shader's text becomes a string, `wc -l` goes to a macro.
//! What comes of that is compiled in the end, so it is seen in what compilers read: a file that is none of
//! the fix's, an argument, or a directive's text in an object.

use super::stamps::{Window, equal_but_for_times};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use wrapper::{OsBytes, Records, UnitRecord};

/// A build as it was recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordedBuild<'b> {
    /// What was recorded.
    pub records: &'b Records,
    /// When it ran.
    pub window: Window,
    /// Where its tree is now.
    pub tree: &'b Path,
}

/// Something that compilers read in the second build and not in the first: a file that is none of `files`,
/// which the fix changes, an argument, or the text of a directive that came into an object. Both trees were
/// at `place` when they were built. `None` if there is none.
pub(crate) fn read_other_inputs(
    before: RecordedBuild<'_>,
    after: RecordedBuild<'_>,
    place: &Path,
    files: &[PathBuf],
) -> Option<String> {
    let known: HashSet<&str> =
        before.records.units.iter().flat_map(|u| &u.deps).map(|d| d.sha256.as_str()).collect();
    let windows = (before.window, after.window);
    let mut seen = HashSet::new();
    for dep in units(after.records).flat_map(|u| &u.deps) {
        let path = dep.path.as_path();
        if known.contains(dep.sha256.as_str())
            || files.iter().any(|f| path.ends_with(f))
            || !seen.insert((path, dep.sha256.as_str()))
        {
            continue;
        }
        let read = |build: RecordedBuild<'_>| {
            let below = path.strip_prefix(place).ok()?;
            std::fs::read(build.tree.join(below)).ok()
        };
        // A file that only the second build reads, or one that holds the time of the build.
        let is_same = |old: &[u8], new: &[u8]| {
            patchfile::Digest::of(new).to_string() == dep.sha256 && equal_but_for_times(old, new, windows)
        };
        if !read(before).zip(read(after)).is_some_and(|(old, new)| is_same(&old, &new)) {
            return Some(path.display().to_string());
        }
    }
    commands_differ(before, after, place).or_else(|| directive_in_object(before.records, after.records))
}

/// The units of a build, without those by which `configure` learns about the system.
fn units(records: &Records) -> impl Iterator<Item = &UnitRecord> {
    records.units.iter().filter(|u| !wrapper::is_probe(u.source.as_bytes(), u.cwd.as_path()))
}

/// A unit that is compiled by another command.
fn commands_differ(before: RecordedBuild<'_>, after: RecordedBuild<'_>, place: &Path) -> Option<String> {
    let key = |unit: &UnitRecord| (unit.cwd.clone(), unit.source.clone());
    let mut commands: HashMap<_, Vec<&[OsBytes]>> = HashMap::new();
    for unit in units(before.records) {
        commands.entry(key(unit)).or_default().push(&unit.expanded_argv);
    }
    let windows = (before.window, after.window);
    let other = units(after.records).find(|unit| {
        let argv = &unit.expanded_argv;
        // A source with a random name is another one each time; its contents were looked at.
        let Some(all) = commands.get(&key(unit)) else { return !is_temporary(&unit.source, place) };
        !all.iter().any(|old| same_command(old, argv, windows, place))
    })?;
    Some(format!("the command for {}", other.source.to_string_lossy()))
}

/// Are two commands the same but for times and temporary names? Both trees were at `place` when they were
/// built.
pub(crate) fn same_command(
    old: &[OsBytes],
    new: &[OsBytes],
    windows: (Window, Window),
    place: &Path,
) -> bool {
    let same_word = |(old, new): (&OsBytes, &OsBytes)| {
        old == new
            || is_temporary(old, place) && is_temporary(new, place)
            || equal_but_for_times(old.as_bytes(), new.as_bytes(), windows)
    };
    old.len() == new.len() && old.iter().zip(new).all(same_word)
}

fn is_temporary(word: &OsBytes, place: &Path) -> bool {
    let names = |what: &[u8]| memchr::memmem::find(word.as_bytes(), what).is_some();
    names(b"/tmp/") && !names(place.as_os_str().as_encoded_bytes())
}

/// An object that holds the text of a directive that none of the other build's objects holds.
fn directive_in_object(before: &Records, after: &Records) -> Option<String> {
    let objects = |records: &Records| -> HashMap<String, PathBuf> {
        let units = units(records).map(|u| (u.object_sha256.clone(), u.stored.as_path().to_owned()));
        let inputs = records.links.iter().flat_map(|link| {
            link.inputs.iter().map(|input| (input.sha256.clone(), link.kept_object(&input.sha256)))
        });
        units.chain(inputs).collect()
    };
    let (old, new) = (objects(before), objects(after));
    let texts = |own: &HashMap<String, PathBuf>, other: &HashMap<String, PathBuf>| -> BTreeSet<Vec<u8>> {
        let files = own.iter().filter(|(hash, _)| !other.contains_key(*hash)).map(|(_, file)| file);
        files.flat_map(|file| directives(&std::fs::read(file).unwrap_or_default())).collect()
    };
    let new = texts(&new, &old);
    let text =
        if new.is_empty() { None } else { new.difference(&texts(&old, &HashMap::new())).next().cloned() };
    text.map(|text| format!("the text `{}` in an object", String::from_utf8_lossy(&text)))
}

/// Texts `#line N`.
fn directives(data: &[u8]) -> Vec<Vec<u8>> {
    let number = |at: usize| {
        let digits = data.get(at + 6..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        (digits > 0).then(|| data[at..at + 6 + digits].to_vec())
    };
    memchr::memmem::find_iter(data, b"#line ").filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wrapper::Dep;

    fn unit(source: &str, argv: &[&str], deps: &[(&Path, &str)]) -> UnitRecord {
        let deps = deps.iter().map(|(path, text)| Dep {
            path: (*path).into(),
            sha256: patchfile::Digest::of(text.as_bytes()).to_string(),
        });
        let json = serde_json::json!({
            "version": 1, "id": "1", "kind": "compile", "language": "c", "driver": "/usr/bin/gcc", "argv": [],
            "expanded_argv": argv, "cwd": "/b", "env": [], "session_created": 0, "source": source, "stdin": null,
            "deps": [], "object": "x.o", "object_path": "/b/x.o", "object_sha256": "0", "stored": "/none",
            "reused": false, "lto": false, "not_recompilable": null, "phase": "original", "notes": []
        });
        let mut unit: UnitRecord = serde_json::from_value(json).unwrap();
        unit.deps = deps.collect();
        unit
    }

    fn besides(before: UnitRecord, after: UnitRecord, place: &Path) -> Option<String> {
        let records = |unit| Records { units: vec![unit], ..Records::default() };
        let (before, after) = (records(before), records(after));
        let window = Window { start: 1_700_000_000, end: 1_700_000_100 };
        let build = |records| RecordedBuild { records, window, tree: place };
        read_other_inputs(build(&before), build(&after), place, &["x.c".into()])
    }

    #[test]
    fn files_of_the_fix_may_differ_and_what_is_made_of_them_may_not() {
        let place = Path::new("/b");
        let (fixed, made) = (place.join("x.c"), place.join("made.h"));
        let of = |x: &str, m: &str| unit("x.c", &["-c", "x.c"], &[(&fixed, x), (&made, m)]);
        assert_eq!(besides(of("old", "one"), of("new", "one"), place), None);
        assert_eq!(besides(of("old", "one"), of("new", "two"), place), Some("/b/made.h".into()));
    }

    #[test]
    fn a_file_that_was_there_before_or_holds_the_time_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let header = dir.path().join("new.h");
        std::fs::write(&header, "text").unwrap();
        let argv = ["-c", "x.c"];
        let (old, new) = (unit("x.c", &argv, &[]), unit("x.c", &argv, &[(&header, "text")]));
        assert_eq!(besides(old, new, dir.path()), None);
    }

    #[test]
    fn commands_are_compared_but_for_times_and_temporary_names() {
        let of = |word: &str| unit("x.c", &["-c", "x.c", word], &[]);
        let place = Path::new("/b");
        assert_eq!(besides(of("-DT=1700000001"), of("-DT=1700000050"), place), None);
        assert_eq!(besides(of("-I/tmp/x1"), of("-I/tmp/x2"), place), None);
        assert_eq!(besides(of("-DN=4"), of("-DN=6"), place), Some("the command for x.c".into()));
    }

    #[test]
    fn texts_of_directives_are_found() {
        assert_eq!(directives(b"x#line 12\n#line y\0#line 3"), [b"#line 12".to_vec(), b"#line 3".to_vec()]);
    }
}
