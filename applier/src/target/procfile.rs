//! Reading files of `/proc`.

use std::{
    fs::File,
    io::{self, Read},
};

/// More than most of them have: a second read, at which the kernel would begin its work anew, is rarely needed.
const ROOM: usize = 16 << 10;

/// The whole file. `std::fs::read` would ask for its size, which is always 0, and then read in small pieces.
pub(crate) fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ROOM);
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
