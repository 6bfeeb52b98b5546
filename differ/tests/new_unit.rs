//! A unit that the original does not have is compared with an object of an empty file.

#![expect(clippy::unwrap_used, reason = "a test binary: what cannot go on should say so and stop")]

use std::process::Command;

use differ::{Options, UnitDiff};

fn object(dir: &std::path::Path, name: &str, text: &str, flags: &[&str]) -> Vec<u8> {
    let (source, object) = (dir.join(format!("{name}.c")), dir.join(format!("{name}.o")));
    std::fs::write(&source, text).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-c", "-ffunction-sections", "-fdata-sections", "-o"])
        .arg(&object)
        .args(flags)
        .arg(&source);
    assert!(gcc.status().unwrap().success());
    std::fs::read(object).unwrap()
}

fn diff(original: &[u8], patched: &[u8]) -> UnitDiff {
    differ::diff(original, patched, &Options { unit: "new.c".into(), ..Options::default() }).unwrap()
}

const TEXT: &str = "
struct rate { long tokens, last; };
int drain(struct rate *r, long n) { if (r->tokens < n) return -1; r->tokens -= n; return 0; }
";

#[test]
fn nothing_is_said_about_layouts_of_a_new_unit() {
    let dir = tempfile::tempdir().unwrap();
    let empty = object(dir.path(), "empty", "", &[]);
    for flags in [&["-g"][..], &[]] {
        let found = diff(&empty, &object(dir.path(), "new", TEXT, flags));
        assert!(found.warnings.is_empty(), "{:?}", found.warnings);
        assert_eq!(found.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["drain"]);
        assert!(found.patch.is_some());
    }
    // A unit that was there is another matter.
    let found = diff(
        &object(dir.path(), "old", "int drain(void) { return 1; }\n", &[]),
        &object(dir.path(), "new", TEXT, &["-g"]),
    );
    assert_eq!(found.warnings.iter().map(|w| w.what.as_str()).collect::<Vec<_>>(), ["no debug information"]);
}
