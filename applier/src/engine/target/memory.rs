//! Memory of the target through `/proc/PID/mem`.

use super::own;
use crate::{ProcessError, sys::page};
use nix::fcntl::{Flock, FlockArg};
use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
};

/// Memory of one process. The handle stays bound to the address space it was opened on: should the process
/// end or execute another program, reads and writes fail instead of hitting a stranger.
#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    pages: RefCell<HashMap<u64, Option<Box<[u8]>>>>,
    /// Held by whoever changes the process. Giving it back is explicit, since a program that another thread
    /// of ours is just starting has the descriptor until it executes.
    lock: OnceCell<Flock<File>>,
}

impl Memory {
    /// Opens the memory of a process, for writing too.
    ///
    /// # Errors
    /// [`ProcessError::Gone`], [`ProcessError::NotPermitted`].
    pub(crate) fn open(pid: i32) -> Result<Self, ProcessError> {
        let path = format!("/proc/{pid}/mem");
        let file =
            OpenOptions::new().read(true).write(true).open(path).map_err(|e| match e.raw_os_error() {
                Some(libc::ENOENT | libc::ESRCH) => ProcessError::Gone,
                Some(libc::EACCES | libc::EPERM) => {
                    ProcessError::NotPermitted { why: own::unread("its memory may not be read; run as root") }
                }
                _ => ProcessError::Os { what: "cannot open its memory".into(), source: e },
            })?;
        Ok(Self { file, pages: RefCell::default(), lock: OnceCell::new() })
    }

    /// Of a file that holds what a process would, from address 0.
    pub(crate) fn of_file(file: File) -> Self {
        Self { file, pages: RefCell::default(), lock: OnceCell::new() }
    }

    /// Takes the right to change it, which only one of us can have at a time, and keeps it as long as the
    /// handle. The lock is on the open file, and who may not write to the memory cannot take it.
    ///
    /// # Errors
    /// The kernel knows no such locks.
    pub(crate) fn try_lock(&self) -> Result<bool, ProcessError> {
        let cannot = ProcessError::os("cannot lock its memory");
        let taken = self.file.try_clone().map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock));
        match taken {
            Ok(Ok(lock)) => Ok(self.lock.set(lock).is_ok()),
            Ok(Err((_, nix::Error::EWOULDBLOCK))) => Ok(false),
            Ok(Err((_, error))) => Err(cannot(error.into())),
            Err(error) => Err(cannot(error)),
        }
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// When any byte of it cannot be read.
    pub(crate) fn read(&self, address: u64, len: usize) -> Result<Vec<u8>, ProcessError> {
        let mut buffer = vec![0; len];
        self.read_into(address, &mut buffer)?;
        Ok(buffer)
    }

    /// Fills `buffer`.
    ///
    /// # Errors
    /// When any byte of it cannot be read.
    pub(crate) fn read_into(&self, address: u64, buffer: &mut [u8]) -> Result<(), ProcessError> {
        self.file.read_exact_at(buffer, address).map_err(|e| failed("read", address, e))
    }

    /// Reads a little-endian word.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn word(&self, address: u64) -> Result<u64, ProcessError> {
        let mut bytes = [0; 8];
        self.read_into(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes bytes, also where the process itself may only read or execute. A write that does not cross a
    /// page happens wholly or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), ProcessError> {
        self.file.write_all_at(bytes, address).map_err(|e| failed("write", address, e))
    }

    /// Empties the cache of [`Memory::cached`]: what is read from now on is what is there now.
    pub(crate) fn forget(&mut self) {
        self.pages.get_mut().clear();
    }

    /// Reads through a cache of pages: for tables that do not change while we look.
    pub(crate) fn cached(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(len);
        let mut pages = self.pages.borrow_mut();
        let mut at = address;
        while out.len() < len {
            let page = page::floor(at);
            let bytes = pages.entry(page).or_insert_with(|| {
                let mut buffer = vec![0; usize::try_from(page::size()).unwrap_or(0)];
                self.file.read_exact_at(&mut buffer, page).ok().map(|()| buffer.into_boxed_slice())
            });
            let from = usize::try_from(at - page).ok()?;
            let piece = bytes.as_ref()?.get(from..)?;
            let take = piece.len().min(len - out.len());
            out.extend_from_slice(&piece[..take]);
            at = at.checked_add(take as u64)?;
        }
        Some(out)
    }

    /// A little-endian word through the cache.
    pub(crate) fn cached_word(&self, address: u64) -> Option<u64> {
        self.cached(address, 8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// A little-endian half word through the cache.
    pub(crate) fn cached_u32(&self, address: u64) -> Option<u32> {
        self.cached(address, 4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// Does the zero-terminated string at `address` equal `text`?
    pub(crate) fn string_is(&self, address: u64, text: &str) -> bool {
        let bytes = self.cached(address, text.len() + 1);
        bytes.is_some_and(|b| b.split_last() == Some((&0, text.as_bytes())))
    }
}

fn failed(verb: &str, address: u64, source: io::Error) -> ProcessError {
    // Nothing at all is read or written (proc_pid_mem(5)) once the process has another memory, or none.
    if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero) {
        return ProcessError::NotMapped;
    }
    match source.raw_os_error() {
        Some(libc::ESRCH) => ProcessError::Gone,
        _ => {
            ProcessError::Os { what: format!("cannot {verb} memory of the process at {address:#x}"), source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_goes_with_its_holder_though_a_child_has_the_descriptor_too() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let (first, second) = (Memory::open(pid).unwrap(), Memory::open(pid).unwrap());
        assert!(first.try_lock().unwrap());
        // As in a child between `fork` and `execve`.
        let inherited = first.file.try_clone().unwrap();
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
        drop(inherited);
    }
}
