//! Rules that depend on the product.

#![expect(clippy::unwrap_used, reason = "a test binary: what cannot go on should say so and stop")]

use std::process::Command;

use differ::{MemberChange, MemberChangeKind, Options, Profile, conflicts};

/// An object without unwind information, as those of the kernel are.
fn object(dir: &std::path::Path, name: &str, text: &str) -> Vec<u8> {
    let (source, object) = (dir.join(format!("{name}.c")), dir.join(format!("{name}.o")));
    std::fs::write(&source, text).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-g", "-O2", "-c", "-ffunction-sections", "-fdata-sections"]);
    gcc.args(["-fno-asynchronous-unwind-tables", "-o"]).arg(&object).arg(&source);
    assert!(gcc.status().unwrap().success());
    std::fs::read(object).unwrap()
}

#[test]
fn the_kernel_needs_no_unwind_information() {
    let dir = tempfile::tempdir().unwrap();
    let old = object(dir.path(), "old", "int limit(int n) { return n > 10; }\n");
    let new = object(dir.path(), "new", "int limit(int n) { return n > 20; }\n");
    let warnings = |profile| {
        let found = differ::diff(&old, &new, &Options { profile, ..Options::default() }).unwrap();
        found.warnings.into_iter().map(|w| w.what).collect::<Vec<_>>()
    };
    assert_eq!(warnings(Profile::User), ["no unwind information"]);
    assert_eq!(warnings(Profile::Kernel), [""; 0]);
}

#[test]
fn the_kernel_has_names_of_its_own() {
    let change = |function: &str, callee: &str, kind| MemberChange {
        function: function.into(),
        source_file: "server.c".into(),
        callee: callee.into(),
        kind,
        members: [("conn::name".to_owned(), true)].into(),
    };
    // Functions that only look at what they get.
    let conflicts = |reader: &str, profile| {
        let all = [
            change("create", "intern", MemberChangeKind::NoLongerKeeps),
            change("show", reader, MemberChangeKind::NoLongerGives),
        ];
        conflicts(&all, &all, profile).len()
    };
    assert_eq!(["strlen", "fputs", "_copy_to_user"].map(|f| conflicts(f, Profile::User)), [0, 0, 1]);
    assert_eq!(["strlen", "fputs", "_copy_to_user"].map(|f| conflicts(f, Profile::Kernel)), [0, 1, 0]);
}
