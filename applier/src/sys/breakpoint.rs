#![expect(unsafe_code, reason = "perf_event_open and fcntl have no safe interface in std")]
//! A breakpoint that goes with whoever set it (`perf_event_open(2)`, `PERF_TYPE_BREAKPOINT`).
//!
//! It lives as long as its file descriptor: the kernel takes it away when we die, however that comes. What it
//! does is to send the thread a signal that the thread takes no notice of, unless somebody traces it. So at
//! no instant is there anything in the process that needs us.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// A breakpoint on an instruction, for one thread.
#[derive(Debug)]
pub(crate) struct Breakpoint(#[expect(dead_code, reason = "is there until it is closed")] OwnedFd);

/// The first fields of `struct perf_event_attr` (linux/perf_event.h), `PERF_ATTR_SIZE_VER1`.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    bp_addr: u64,
    bp_len: u64,
}

const PERF_TYPE_BREAKPOINT: u32 = 5;
const HW_BREAKPOINT_X: u32 = 4;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
const F_SETOWN_EX: libc::c_int = 15;
const F_SETSIG: libc::c_int = 10;
/// Takes a thread's id.
const F_OWNER_TID: libc::c_int = 0;

impl Breakpoint {
    /// Thread `tid` is sent `signal` each time it is about to execute the instruction at `address`.
    ///
    /// # Errors
    /// Not allowed (`perf_event_paranoid`, seccomp), or the processor has no breakpoint left.
    pub(crate) fn set(tid: i32, address: u64, signal: i32) -> io::Result<Self> {
        let size = mem::size_of::<Attributes>();
        let attributes = Attributes {
            kind: PERF_TYPE_BREAKPOINT,
            size: u32::try_from(size).unwrap_or(0),
            config: 0,
            period: 1,
            sample_type: 0,
            read_format: 0,
            flags: EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
            wakeup_events: 1,
            bp_type: HW_BREAKPOINT_X,
            bp_addr: address,
            bp_len: size_of::<libc::c_long>() as u64,
        };
        // SAFETY: the kernel reads as many bytes as the structure says that it has.
        let fd = unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, tid, -1, -1, PERF_FLAG_FD_CLOEXEC)
        };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a descriptor that was made just now and is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let owner = [F_OWNER_TID, tid];
        // SAFETY: the kernel reads one `struct f_owner_ex`, two integers.
        let rc = unsafe { libc::fcntl(fd.as_raw_fd(), F_SETOWN_EX, owner.as_ptr()) };
        let set = |command, value: libc::c_int| {
            // SAFETY: these commands take an integer.
            if unsafe { libc::fcntl(fd.as_raw_fd(), command, value) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        set(F_SETSIG, signal)?;
        set(libc::F_SETFL, libc::O_ASYNC)?;
        Ok(Self(fd))
    }
}
