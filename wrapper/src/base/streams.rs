//! Inputs that are no regular files. What is in a pipe can be read once, and that is the compiler's: nobody
//! else may open one that the build has made, not even to look, as an open without a writer never returns.

use std::fs::{self, File};
use std::io::{PipeReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use records::OsBytes;

/// What a name on a command line stands for.
#[derive(Debug)]
pub(crate) enum Input {
    /// A regular file, or none at all.
    File,
    /// It came through this descriptor of ours, and has been read; the compiler gets a copy.
    DescriptorText(DescriptorText),
    /// Only the compiler may read it.
    Untouchable(String),
}

/// Text of a descriptor.
#[derive(Debug)]
pub(crate) struct DescriptorText {
    pub(crate) fd: i32,
    pub(crate) text: Vec<u8>,
    /// The descriptor is at its end now, so the compiler must get another one.
    pub(crate) used_up: bool,
}

/// The descriptor that a source by this name is read from.
pub(crate) fn descriptor(name: &[u8]) -> Option<i32> {
    if name == b"-" || name == b"/dev/stdin" {
        return Some(0);
    }
    let number = name.strip_prefix(b"/dev/fd/").or_else(|| name.strip_prefix(b"/proc/self/fd/"))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Is there something else than a regular file? Directories and `/dev/null` read as nothing and are none of
/// these.
pub(crate) fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| {
        let kind = meta.file_type();
        let null =
            kind.is_char_device() && fs::metadata("/dev/null").is_ok_and(|it| it.rdev() == meta.rdev());
        !kind.is_file() && !kind.is_dir() && !null
    })
}

/// Why a unit with such an input cannot be made again.
pub(crate) fn why(name: &[u8]) -> String {
    format!("{} is a pipe or device, which only its compiler could read", String::from_utf8_lossy(name))
}

impl Input {
    /// Looks at a source, and takes in what can be read only once.
    pub(crate) fn of(name: &[u8], cwd: &Path) -> Self {
        let Some(fd) = descriptor(name) else {
            let path = cwd.join(OsBytes::from(name).as_path());
            return if is_stream(&path) { Self::Untouchable(why(name)) } else { Self::File };
        };
        let open = format!("/proc/self/fd/{fd}");
        let Ok(meta) = fs::metadata(&open) else { return Self::Untouchable(why(name)) };
        let held = |text, used_up| Self::DescriptorText(DescriptorText { fd, text, used_up });
        if name == b"-" {
            return held(rest_of_stdin(), true);
        }
        // By such a name a file is opened anew, from its beginning; a pipe is the same pipe.
        if meta.file_type().is_file() {
            return fs::read(&open).map_or_else(|_| Self::Untouchable(why(name)), |text| held(text, false));
        }
        if !meta.file_type().is_fifo() {
            return Self::Untouchable(why(name));
        }
        let mut text = Vec::new();
        match File::open(&open).and_then(|mut pipe| pipe.read_to_end(&mut text)) {
            Ok(_) => held(text, true),
            Err(_) => Self::Untouchable(why(name)),
        }
    }
}

/// What can be had of standard input, if it cannot be read to its end.
fn rest_of_stdin() -> Vec<u8> {
    let mut text = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut text);
    text
}

/// A pipe that gives the text. Through memory, not through the session's files: those may fail, the build may
/// not.
pub(crate) fn feed(text: Vec<u8>) -> std::io::Result<PipeReader> {
    let (reader, mut writer) = std::io::pipe()?;
    std::thread::spawn(move || writer.write_all(&text));
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors() {
        for (name, fd) in [
            ("-", Some(0)),
            ("/dev/stdin", Some(0)),
            ("/dev/fd/63", Some(63)),
            ("/proc/self/fd/3", Some(3)),
            ("/dev/fd/", None),
            ("a.c", None),
        ] {
            assert_eq!(descriptor(name.as_bytes()), fd, "{name}");
        }
    }

    #[test]
    fn what_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(is_stream(&pipe) && is_stream(Path::new("/dev/zero")));
        assert!(
            !is_stream(Path::new("/dev/null")) && !is_stream(dir.path()) && !is_stream(&dir.path().join("x"))
        );
        assert!(matches!(Input::of(b"pipe", dir.path()), Input::Untouchable(_)));
    }
}
