//! Looks into the RPM of a patch that is not installed, by the program `rpm2cpio`. For reading only: what is
//! applied was installed, so that rpm has checked who made it.

use super::ReadError;
use patchfile::paths;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Largest content that is read, in bytes.
const LARGEST: u64 = 512 << 20;
/// A header of the archive (cpio(5), "new ASCII format"): a magic number and 13 numbers of 8 digits.
const HEADER: usize = 110;

/// The files of the patch in a package, by name.
#[derive(Debug)]
pub(super) struct Package {
    path: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
}

/// Is this the path of an RPM?
pub(crate) fn is_package(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("rpm")) && path.is_file()
}

impl Package {
    /// Reads it.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let mut program = Command::new("rpm2cpio");
        // A name that begins with a dash is no option.
        let mut child = program
            .arg(std::path::absolute(path).map_err(|e| e.to_string())?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("rpm2cpio, which looks into packages, cannot be run: {e}"))?;
        let mut archive = Vec::new();
        let read = child.stdout.take().map(|out| out.take(LARGEST).read_to_end(&mut archive));
        let ended = child.wait().map_err(|e| format!("rpm2cpio: {e}"))?;
        if !ended.success() || !matches!(read, Some(Ok(_))) {
            return Err("is no RPM that rpm2cpio can read".into());
        }
        let files = of_patch(&archive).ok_or("rpm2cpio gave something that is no archive")?;
        if files.contains_key(paths::MANIFEST) {
            return Ok(Self { path: path.into(), files });
        }
        Err(match files.is_empty() {
            true => format!("holds no patch: nothing in it is below /{}", paths::PATCHES),
            false => "holds several patches, or one without a manifest".into(),
        })
    }

    pub(super) fn file(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        let absent = || ReadError::Absent(self.path.join(name));
        self.files.get(name).cloned().ok_or_else(absent)
    }
}

/// The files of the only patch in an archive. `None` where it is no archive.
fn of_patch(archive: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut patch: Option<PathBuf> = None;
    let mut rest = archive;
    let padded = |length: usize| length.checked_next_multiple_of(4);
    loop {
        let header = rest.get(..HEADER).filter(|h| h.starts_with(b"07070"))?;
        let number = |index: usize| {
            let digits = header.get(6 + 8 * index..)?.get(..8)?;
            usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let (size, name_size) = (number(6)?, number(11)?);
        let name = rest.get(HEADER..HEADER.checked_add(name_size)?)?;
        let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name));
        if name == "TRAILER!!!" {
            return Some(files);
        }
        let begin = padded(HEADER.checked_add(name_size)?)?;
        let data = rest.get(begin..begin.checked_add(size)?)?;
        let path = Path::new(name.as_ref());
        let path = path.strip_prefix(".").unwrap_or(path);
        let path = path.strip_prefix("/").unwrap_or(path);
        // PATCHES/NVR/PATCH/FILE
        if let Ok(below) = path.strip_prefix(paths::PATCHES)
            && below.iter().count() == 3
            && let (Some(dir), Some(file)) = (path.parent(), path.file_name())
        {
            if patch.get_or_insert_with(|| dir.into()) != dir {
                return Some(BTreeMap::from([("several".to_owned(), Vec::new())]));
            }
            files.insert(file.to_string_lossy().into_owned(), data.to_vec());
        }
        rest = rest.get(padded(begin.checked_add(size)?)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, data) in files.iter().chain(&[("TRAILER!!!", "")]) {
            let numbers = [1, 0o100_644, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
            out.extend(b"070701");
            numbers.iter().for_each(|n| out.extend(format!("{n:08x}").bytes()));
            for part in [format!("{name}\0"), (*data).to_owned()] {
                out.extend(part.bytes());
                out.resize(out.len().next_multiple_of(4), 0);
            }
        }
        out
    }

    #[test]
    fn the_files_of_one_patch_are_found() {
        let below = |rest: &str| format!("./{}/p-1-1/{rest}", paths::PATCHES);
        let (manifest, image) = (below("A/manifest.yaml"), below("A/p.upatch"));
        let files = [("./usr/share/doc/x", "y"), (manifest.as_str(), "format: 1\n"), (&image, "12345")];
        let found = of_patch(&archive(&files)).unwrap();
        let found: Vec<_> = found.iter().map(|(n, d)| (n.as_str(), d.len())).collect();
        assert_eq!(found, [("manifest.yaml", 10), ("p.upatch", 5)]);
        let other = below("B/manifest.yaml");
        let found = of_patch(&archive(&[(&manifest, ""), (&other, "")])).unwrap();
        assert!(!found.contains_key("manifest.yaml"));
    }

    #[test]
    fn every_truncation_is_no_archive() {
        let whole = archive(&[("./a", "abc")]);
        // The last bytes are padding.
        assert!((0..whole.len() - 4).all(|len| of_patch(&whole[..len]).is_none()));
        assert!(of_patch(b"not an archive").is_none());
    }
}
