//! What fuzzing starts from, and every input that once was a bug: an answer, never a panic, and soon. See
//! `scripts/fuzz`.

use std::{fs, path::Path, time::Instant};

#[test]
fn foreign_elf_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/elf");
    let paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!paths.is_empty());
    for path in paths {
        let data = fs::read(&path).unwrap();
        let begun = Instant::now();
        applier::foreign::elf(&data);
        // A list without an end would take for ever.
        assert!(begun.elapsed().as_secs() < 20, "{}", path.display());
        // Cut off anywhere, and with each word of its beginning as large as can be.
        for at in (0..data.len().min(1024)).step_by(16) {
            applier::foreign::elf(&data[..at]);
            let mut large = data.clone();
            large[at..(at + 8).min(data.len())].fill(0xff);
            applier::foreign::elf(&large);
        }
    }
}
