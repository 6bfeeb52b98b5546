//! The comparison for the kernel, on small units that hold what the kernel's headers make of code.

#![expect(clippy::unwrap_used, reason = "a test binary: what cannot go on should say so and stop")]

mod data;
mod redirect;
mod sections;
mod tables;

use std::path::Path;
use std::process::Command;

use differ::{Error, Options, PatchObject, PatchSection, Profile, UnitDiff};

/// Compiler flags of the kernel that count here.
const FLAGS: [&str; 12] = [
    "-g",
    "-O2",
    "-w",
    "-pg",
    "-mfentry",
    "-mrecord-mcount",
    "-fno-PIE",
    "-mcmodel=kernel",
    "-fno-asynchronous-unwind-tables",
    "-fno-jump-tables",
    "-ffunction-sections",
    "-fdata-sections",
];

/// Compiles a unit twice, without and with `PATCHED` defined, and compares.
fn compare_with(text: &str, more: &[&str], options: &Options) -> Result<UnitDiff, Error> {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("unit.c");
    std::fs::write(&source, format!("#include \"kernel.h\"\n#line 1 \"unit.c\"\n{text}")).unwrap();
    let object = |name: &str, flags: &[&str]| {
        let out = dir.path().join(name);
        let mut gcc = Command::new("gcc");
        gcc.args(FLAGS)
            .args(more)
            .args(flags)
            .arg("-I")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel"));
        assert!(gcc.arg("-c").arg(&source).arg("-o").arg(&out).status().unwrap().success());
        std::fs::read(out).unwrap()
    };
    let (old, new) = (object("old.o", &[]), object("new.o", &["-DPATCHED"]));
    let options = Options { profile: Profile::Kernel, ..options.clone() };
    for same in [&old, &new] {
        let null = differ::diff(same, same, &options)?;
        assert!(null.is_unchanged(), "the same twice: {null:#?}");
    }
    differ::diff(&old, &new, &options)
}

fn compare(text: &str) -> UnitDiff {
    compare_with(text, &[], &Options::default()).unwrap()
}

/// The names of the functions that differ.
fn changed(diff: &UnitDiff) -> Vec<&str> {
    diff.functions.iter().map(|change| change.name.as_str()).collect()
}

/// What is shipped; fails if something was refused.
fn shipped(diff: &UnitDiff) -> &PatchObject {
    assert!(diff.refused.is_empty(), "refused: {:#?}", diff.refused);
    diff.patch.as_ref().unwrap()
}

fn section<'a>(patch: &'a PatchObject, name: &str) -> Option<&'a PatchSection> {
    let mut found = patch.sections.iter().filter(|s| s.name == name);
    let first = found.next();
    assert!(found.next().is_none(), "{name} more than once");
    first
}

/// The symbols that the relocations of a section refer to.
fn targets<'a>(patch: &'a PatchObject, name: &str) -> Vec<&'a str> {
    let relocations = section(patch, name).into_iter().flat_map(|s| &s.relocations);
    relocations.map(|r| patch.symbols[r.symbol].name.as_str()).collect()
}

/// Is there a refusal with these words in what was met or why?
fn is_refused(diff: &UnitDiff, place: &str, words: &str) -> bool {
    assert!(diff.patch.is_none(), "not refused: {diff:#?}");
    let found = diff
        .refused
        .iter()
        .any(|r| r.place.contains(place) && format!("{} {}", r.what, r.why).contains(words));
    assert!(found, "{place}: no {words:?}: {:#?}", diff.refused);
    found
}
