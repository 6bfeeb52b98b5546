//! Options of a link that a fix changes. A live patch holds code and data; what else they make of a file
//! comes with an update of the package.

use crate::output::Warned;
use std::collections::BTreeSet;
use wrapper::{LinkRecord, OsBytes};

/// A warning where the two links of one file were given other options, libraries among them.
pub(super) fn warning(name: &str, before: &LinkRecord, after: &LinkRecord) -> Option<Warned> {
    let (was, is) = (options(&before.expanded_argv), options(&after.expanded_argv));
    let list = |of: &BTreeSet<String>, but: &BTreeSet<String>, what: &str| {
        let words: Vec<&str> = of.difference(but).map(String::as_str).collect();
        (!words.is_empty()).then(|| format!("{what} {}", words.join(" ")))
    };
    let changes: Vec<String> =
        [list(&is, &was, "with"), list(&was, &is, "without")].into_iter().flatten().collect();
    (!changes.is_empty()).then(|| Warned {
        what: "link options changed".into(),
        place: name.to_owned(),
        why: format!(
            "the fix links it {}; the live patch does not hold what that changes beside code and data",
            changes.join(" and ")
        ),
    })
}

/// Options and their separate values, but for files and folders, whose names differ between builds.
fn options(argv: &[OsBytes]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut words = argv.iter().skip(1).map(|w| w.to_string_lossy()).peekable();
    while let Some(word) = words.next() {
        if !word.starts_with('-') || word.contains('/') {
            continue;
        }
        match &*word {
            "-o" | "-L" | "-T" | "-plugin" | "-dynamic-linker" | "--dynamic-linker" | "-Map" | "-rpath"
            | "-rpath-link" => {
                words.next();
            }
            "-z" | "-m" | "-u" | "--wrap" | "--defsym" | "-soname" | "-h" => {
                let value = words.next().unwrap_or_default();
                found.insert(format!("{word} {value}"));
            }
            _ => {
                found.insert(word);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> BTreeSet<String> {
        let argv: Vec<OsBytes> = words.iter().map(|w| w.as_bytes().into()).collect();
        options(&argv)
    }

    #[test]
    fn files_do_not_count() {
        let here = of(&[
            "ld",
            "-o",
            "x",
            "/a/crt1.o",
            "x.o",
            "-L/a",
            "-L",
            "lib",
            "-plugin-opt=-fresolution=/tmp/a.res",
            "-lm",
        ]);
        let there = of(&["ld", "-o", "y", "/b/crt1.o", "y.o", "-L/b", "-lm"]);
        assert_eq!(here, there);
        assert_eq!(here.into_iter().collect::<Vec<_>>(), ["-lm"]);
    }

    #[test]
    fn options_and_their_values_do() {
        assert_ne!(of(&["ld", "-z", "now"]), of(&["ld", "-z", "lazy"]));
        assert_ne!(of(&["ld", "--wrap=x"]), of(&["ld"]));
        assert_eq!(of(&["ld", "-lm", "-lm"]), of(&["ld", "-lm"]));
    }
}
