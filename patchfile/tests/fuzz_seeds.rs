//! What fuzzing starts from, and every input that once was a bug: an error or an answer, never a panic. See
//! `scripts/fuzz`.
#![expect(clippy::unwrap_used, reason = "a test: what cannot go on should say so and stop")]

use std::fs;
use std::path::{Path, PathBuf};

use patchfile::{Manifest, image::Image};

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let paths = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    paths.map(|p| (p.clone(), fs::read(p).unwrap())).collect()
}

fn is_valid(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with("seed")
}

#[test]
fn images() {
    let all = seeds("image");
    assert!(!all.is_empty());
    for (path, data) in all {
        let image = Image::parse(&data);
        assert!(image.is_ok() || !is_valid(&path), "{}: {:?}", path.display(), image.err());
        if let Ok(image) = image {
            assert!(Image::parse(&image.write().unwrap()).unwrap() == image, "{}", path.display());
        }
    }
}

#[test]
fn manifests() {
    let all = seeds("manifest");
    assert!(!all.is_empty());
    for (path, data) in all {
        let Ok(text) = std::str::from_utf8(&data) else { continue };
        let manifest = Manifest::parse(text);
        assert!(manifest.is_ok() || !is_valid(&path), "{}: {:?}", path.display(), manifest.err());
        if let Ok(manifest) = manifest {
            assert!(Manifest::parse(&manifest.text().unwrap()).unwrap() == manifest, "{}", path.display());
        }
    }
}
