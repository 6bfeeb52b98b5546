#![expect(unsafe_code, reason = "flock and kcmp have no safe interface in std")]
//! Who else is at a process, and who else has its memory.

use std::{fs::File, io, os::fd::AsRawFd};

/// Takes the exclusive lock of an open file (flock(2)) if nobody has it. It goes with the last descriptor, however its owner ends.
///
/// # Errors
/// The file cannot be locked at all.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: takes integers only; the descriptor is open.
    let rc = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    match (rc, io::Error::last_os_error()) {
        (0, _) => Ok(true),
        (_, error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => Ok(false),
        (_, error) => Err(error),
    }
}

/// Gives the lock back, also where a child has the descriptor too.
pub(crate) fn unlock(file: &File) {
    // SAFETY: takes integers only; the descriptor is open.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
}

/// Have two processes the same memory (kcmp(2), `KCMP_VM`)? `None` where the kernel does not tell.
pub(crate) fn same_memory(one: i32, other: i32) -> Option<bool> {
    const KCMP_VM: i32 = 1;
    // SAFETY: takes integers only.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) };
    (order >= 0).then_some(order == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lock_for_all_who_open_the_file() {
        let path = "/proc/self/mem";
        let (first, second) = (File::open(path).unwrap(), File::open(path).unwrap());
        assert!(try_lock(&first).unwrap());
        assert!(!try_lock(&second).unwrap());
        drop(first);
        assert!(try_lock(&second).unwrap());
    }

    #[test]
    fn a_child_has_memory_of_its_own() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = (same_memory(own, own), same_memory(own, pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, (Some(true), Some(false)));
    }
}
