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
    /// Is it memory without a file in the place of what it says?
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
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// Lines that do not parse are left out: an address range that is not known is only ever taken for not ours.
pub(super) fn parse(text: &str) -> Vec<Mapping> {
    let mut maps = text.lines().filter_map(parse_line).collect::<Vec<_>>();
    replaced::restore(&mut maps);
    maps
}

fn parse_line(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?.as_bytes();
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?;
    let has = |i: usize, c: u8| rights.get(i) == Some(&c);
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        read: has(0, b'r'),
        write: has(1, b'w'),
        execute: has(2, b'x'),
        shared: has(3, b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: u64::from_str_radix(major, 16).ok()? << 32 | u64::from_str_radix(minor, 16).ok()?,
        inode: inode.parse().ok()?,
        name: fields.next().unwrap_or("").trim_start().to_owned(),
        replaced: false,
    })
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
            "00400000-00401000 r--p 00000000 fe:00 247030                     /usr/bin/a b (deleted)\n\
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
