//! What fuzzing starts from, and every input that once was a bug: an error or an answer, never a panic. See
//! `scripts/fuzz`.
#![expect(clippy::unwrap_used, reason = "a test: what cannot go on should say so and stop")]

use std::fs;
use std::path::{Path, PathBuf};

use differ::{Options, PatchObject};

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let paths = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    paths.map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

#[test]
fn objects() {
    let all = seeds("object");
    assert!(!all.is_empty());
    for (path, data) in &all {
        let unchanged = differ::diff(data, data, &Options::default()).map(|d| d.is_unchanged());
        if path.file_name().unwrap().to_string_lossy().starts_with("seed") {
            assert!(unchanged.unwrap(), "{} differs from itself", path.display());
        }
        for (_, other) in &all {
            let _ = differ::diff(other, data, &Options::default());
            let _ = differ::same_code(data, other);
        }
    }
}

#[test]
fn patch_objects() {
    let all = seeds("patch_object");
    assert!(!all.is_empty());
    for (path, data) in all {
        if let Ok(object) = PatchObject::from_elf(&data) {
            assert!(
                PatchObject::from_elf(&object.to_elf().unwrap()).unwrap() == object,
                "{}",
                path.display()
            );
        }
    }
}
