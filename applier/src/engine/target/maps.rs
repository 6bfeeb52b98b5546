//! `/proc/PID/maps` (proc_pid_maps(5)).

use super::{own, procfile, replaced};
use crate::ProcessError;
use std::collections::HashSet;

/// One line of the memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Readable?
    pub read: bool,
    /// Writable?
    pub write: bool,
    /// Executable?
    pub execute: bool,
    /// Seen by others that map the same?
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Device (major number in the upper half) and inode: together they name the file. Inode 0: no file.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// The rest of the line: a path, `[stack]`, or nothing.
    pub name: String,
    /// Is this memory without a file that has taken the place of a page of the named file?
    pub replaced: bool,
}

impl Mapping {
    /// Is `address` in it?
    pub(crate) fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Is it of the same file?
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        self.inode == other.inode && self.device == other.device && self.inode != 0
    }

    /// The path without the mark that the kernel adds to files that were removed, and whether it was there.
    pub(crate) fn path(&self) -> (&str, bool) {
        self.name.strip_suffix(" (deleted)").map_or((self.name.as_str(), false), |p| (p, true))
    }
}

/// Reads the memory map of a process.
///
/// # Errors
/// [`ProcessError::Gone`], [`ProcessError::NotPermitted`].
pub(crate) fn read(pid: i32) -> Result<Vec<Mapping>, ProcessError> {
    let bytes = procfile::read(&format!("/proc/{pid}/maps")).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => ProcessError::Gone,
        Some(libc::EACCES | libc::EPERM) => {
            ProcessError::NotPermitted { why: own::unread("it belongs to another user; run as root") }
        }
        _ => ProcessError::Os { what: format!("cannot read the memory map of process {pid}"), source: e },
    })?;
    Ok(parse(&bytes))
}

/// Lines that do not parse are left out: an address range that is not known is only ever taken for not ours.
pub(super) fn parse(text: &[u8]) -> Vec<Mapping> {
    let mut maps = text.split(|byte| *byte == b'\n').filter_map(parse_line).collect::<Vec<_>>();
    replaced::restore(&mut maps);
    maps
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    let rest = &mut &*line;
    let (start, end) = (number(rest, 16, b'-')?, number(rest, 16, b' ')?);
    let (rights, after) = rest.split_at_checked(4)?;
    *rest = after.strip_prefix(b" ")?;
    let offset = number(rest, 16, b' ')?;
    let device = number(rest, 16, b':')? << 32 | number(rest, 16, b' ')?;
    let inode = number(rest, 10, b' ')?;
    let has = |i: usize, c: u8| rights.get(i) == Some(&c);
    let name = rest.iter().position(|byte| *byte != b' ').and_then(|at| rest.get(at..)).unwrap_or_default();
    Some(Mapping {
        start,
        end,
        read: has(0, b'r'),
        write: has(1, b'w'),
        execute: has(2, b'x'),
        shared: has(3, b's'),
        offset,
        device,
        inode,
        name: String::from_utf8_lossy(name).into_owned(),
        replaced: false,
    })
}

/// Takes a number to this `base` from the beginning of `rest`, and `end` behind it: every process has
/// hundreds of them, and we look at every process.
fn number(rest: &mut &[u8], base: u64, end: u8) -> Option<u64> {
    let mut value: u64 = 0;
    for (at, byte) in rest.iter().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' if base == 16 => byte - b'a' + 10,
            byte if *byte == end && at > 0 => {
                *rest = rest.get(at + 1..)?;
                return Some(value);
            }
            _ => return None,
        };
        value = value.checked_mul(base)?.checked_add(digit.into())?;
    }
    None
}

/// The mappings of files of which something may be executed.
pub(crate) fn with_code(maps: &[Mapping]) -> Vec<&Mapping> {
    let file = |m: &Mapping| (m.device, m.inode);
    let executed: HashSet<_> = maps.iter().filter(|m| m.execute && m.inode != 0).map(file).collect();
    maps.iter().filter(|m| executed.contains(&file(m))).collect()
}

/// The mapping that holds `address`; `maps` is in address order.
pub(crate) fn at(maps: &[Mapping], address: u64) -> Option<&Mapping> {
    let index = maps.partition_point(|m| m.end <= address);
    maps.get(index).filter(|m| m.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let maps = parse(
            b"00400000-00401000 r--p 00000000 fe:00 247030                     /usr/bin/a b (deleted)\n\
             7f0000-7f1000 rw-s 00001000 00:00 0 \n\
             nonsense\n\
             ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n",
        );
        assert_eq!(maps.len(), 3);
        assert_eq!(maps[0].path(), ("/usr/bin/a b", true));
        assert_eq!((maps[1].write, maps[1].offset, maps[1].name.as_str()), (true, 0x1000, ""));
        assert_eq!(at(&maps, 0x400fff).map(|m| m.start), Some(0x400000));
        assert_eq!(at(&maps, 0x401000), None);
        assert!(maps[2].execute && !maps[2].read);
    }
}
