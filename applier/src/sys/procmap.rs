#![expect(unsafe_code, reason = "ioctl has no safe interface in std")]
//! `PROCMAP_QUERY` on `/proc/PID/maps` (Linux 6.11, include/uapi/linux/fs.h): asks for mappings of one kind without having
//! the kernel print all of them.

use std::{
    fs::File,
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
};

/// `struct procmap_query`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    rights: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

const SIZE: usize = size_of::<Query>();
/// `_IOWR('f', 17, struct procmap_query)`
const REQUEST: libc::c_ulong = 3 << 30 | (SIZE as libc::c_ulong) << 16 | (b'f' as libc::c_ulong) << 8 | 17;
const EXECUTABLE: u64 = 4;
const COVERING_OR_NEXT: u64 = 0x10;
const FILE_BACKED: u64 = 0x20;

/// Set once a kernel has shown that it does not know the request.
static UNKNOWN: AtomicBool = AtomicBool::new(false);

/// What a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// Only files that pass the test.
    OnlySuch,
    /// Something else too.
    Other,
    /// It has no memory: a kernel thread, a process that is ending, or one whose first thread has ended.
    Nothing,
    /// That cannot be asked.
    Unknown,
}

/// Is `test` true for every file (device as in `maps::Mapping`, inode) of which the process maps a part for execution?
pub(crate) fn runs(pid: i32, test: impl Fn((u64, u64)) -> bool) -> Runs {
    if UNKNOWN.load(Ordering::Relaxed) {
        return Runs::Unknown;
    }
    let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else { return Runs::Unknown };
    let flags = EXECUTABLE | COVERING_OR_NEXT | FILE_BACKED;
    let (mut address, mut any) = (0, false);
    loop {
        let mut query = Query { size: SIZE as u64, flags, address, ..Query::default() };
        // SAFETY: the kernel reads and writes one `Query`, whose addresses of buffers are null and sizes 0.
        let rc = unsafe { libc::ioctl(maps.as_raw_fd(), REQUEST, &raw mut query) };
        if rc < 0 {
            return match std::io::Error::last_os_error().raw_os_error() {
                // After the last.
                Some(libc::ENOENT) => {
                    if any {
                        Runs::OnlySuch
                    } else {
                        Runs::Unknown
                    }
                }
                Some(libc::ESRCH) => Runs::Nothing,
                Some(libc::ENOTTY | libc::EINVAL) => {
                    UNKNOWN.store(true, Ordering::Relaxed);
                    Runs::Unknown
                }
                _ => Runs::Unknown,
            };
        }
        if !test((u64::from(query.major) << 32 | u64::from(query.minor), query.inode)) {
            return Runs::Other;
        }
        (address, any) = (query.end, true);
    }
}
