//! Files that are replaced as a whole or stay as they were.

use crate::sys::{plain, scratch::scratch};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Writes `value` as YAML to a new file and gives it its name: whenever this program is killed, the old or
/// the new contents are there, whole. `durable` extends that to the machine's power, by syncing file and
/// directory, which costs milliseconds.
///
/// # Errors
/// Any system error (disk full, read-only file system, no permission); the old contents then stay.
pub(crate) fn write_yaml(path: &Path, value: &impl Serialize, durable: bool) -> io::Result<()> {
    let text = serde_yaml::to_string(value).map_err(io::Error::other)?;
    let parent = path.parent().ok_or_else(|| io::Error::other("no directory"))?;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let scratch = scratch(parent, &name, fs::remove_file);
    let written =
        File::options().write(true).create_new(true).mode(0o644).open(&scratch).and_then(|mut f| {
            f.write_all(text.as_bytes())?;
            if durable {
                f.sync_all()?;
            }
            fs::rename(&scratch, path)?;
            if durable { File::open(parent)?.sync_all() } else { Ok(()) }
        });
    if written.is_err() {
        fs::remove_file(&scratch).ok();
    }
    written
}

/// A file of thousands of patches and processes is shorter.
const LONGEST: u64 = 64 << 20;

/// Reads what [`write_yaml`] wrote. `Ok(None)` when there is no file; an error of kind `InvalidData` when it
/// is damaged.
///
/// # Errors
/// It cannot be read or understood.
pub(crate) fn read_yaml<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match plain::text(path, LONGEST) {
        Ok(text) => serde_yaml::from_str(&text)
            .map(Some)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.yaml");
        write_yaml(&path, &vec![1], true).unwrap();
        // A directory in the scratch file's place makes the write fail.
        fs::create_dir(dir.path().join(format!(".f.yaml.{}", std::process::id()))).unwrap();
        assert!(write_yaml(&path, &vec![2], true).is_err());
        assert_eq!(read_yaml::<Vec<i32>>(&path).unwrap(), Some(vec![1]));
    }

    #[test]
    fn damage_and_absence_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.yaml");
        assert_eq!(read_yaml::<Vec<i32>>(&path).unwrap(), None);
        fs::write(&path, "[1, 2").unwrap();
        assert_eq!(read_yaml::<Vec<i32>>(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
