//! Names of files and folders that are being written, before they get their own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where this process writes what is to be called `name` in `parent`; nothing is there. What processes left
/// that were killed while they wrote the same goes by `remove`: it is a file or a folder.
pub(crate) fn scratch(parent: &Path, name: &str, remove: fn(PathBuf) -> io::Result<()>) -> PathBuf {
    let own = std::process::id();
    let start = format!(".{name}.");
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let writer =
            file.to_str().and_then(|f| f.strip_prefix(&start)).and_then(|pid| pid.parse::<u32>().ok());
        let Some(writer) = writer else { continue };
        // One of the same id as this process is gone too.
        if writer == own || !Path::new("/proc").join(writer.to_string()).exists() {
            // If it stays, writing fails and says so.
            remove(entry.path()).ok();
        }
    }
    parent.join(format!("{start}{own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dead_writers_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // No process has the largest id; init has the first.
        for name in [".f.yaml.4294967295", ".f.yaml.1", ".f.yaml.old", ".g.yaml.4294967295"] {
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir(at(".d.4294967295")).unwrap();
        fs::write(at(".d.4294967295/file"), "").unwrap();
        assert_eq!(
            scratch(dir.path(), "f.yaml", fs::remove_file),
            at(&format!(".f.yaml.{}", std::process::id()))
        );
        scratch(dir.path(), "d", fs::remove_dir_all);
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".f.yaml.1", ".f.yaml.old", ".g.yaml.4294967295"]);
    }
}
