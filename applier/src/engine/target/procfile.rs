//! Reading files of `/proc`.

use crate::ProcessError;
use std::{
    fs::File,
    io::{self, Read},
};

/// More than most of them have: a second read, at which the kernel would begin its work anew, is rarely
/// needed.
const ROOM: usize = 16 << 10;

/// The whole file. `std::fs::read` would ask for its size, which is always 0, and then read in small pieces.
pub(crate) fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A whole file as text. Names of files and processes are not always text; nothing that is read here is found
/// by such a name.
pub(crate) fn text(path: &str) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// A file that the kernel prints in one go (`stat`, `status`, `syscall`; not `maps`): what is shorter than
/// asked for is all of it.
pub(crate) fn read_one(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FIRST];
    let mut file = File::open(path)?;
    let mut len = 0;
    loop {
        let got = file.read(&mut bytes[len..])?;
        len += got;
        if got == 0 || len < bytes.len() {
            break;
        }
        bytes.resize(2 * len, 0);
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// What it means that `path` cannot be read.
pub(crate) fn gone_or(error: io::Error, path: &str) -> ProcessError {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => ProcessError::Gone,
        _ => ProcessError::Os { what: format!("cannot read {path}"), source: error },
    }
}

/// Most files that the kernel prints in one go are shorter than this.
const FIRST: usize = 4096;
