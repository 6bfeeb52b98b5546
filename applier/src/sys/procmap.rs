#![expect(unsafe_code, reason = "ioctl has no safe interface in std")]
//! `PROCMAP_QUERY` on `/proc/PID/maps` (Linux 6.11, include/uapi/linux/fs.h): asks for mappings of one kind
//! without having the kernel print all of them.

use std::{
    fs::File,
    io,
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

/// Set once a kernel has shown that it does not know the request.
static UNKNOWN: AtomicBool = AtomicBool::new(false);

/// Room for the name of a mapping that has no file.
const NAME: usize = 64;

/// What a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// Only files that pass the test.
    OnlySuch,
    /// Something else too.
    Other,
    /// The process has no memory: it is a kernel thread, is ending, or its first thread has ended.
    Nothing,
    /// The kernel does not tell.
    Unknown,
}

/// Is `test` true for every file (device as in `maps::Mapping`, inode) of which the process maps a part for
/// execution? Memory without a file that it executes is something else, but for the kernel's own.
pub(crate) fn runs(pid: i32, test: impl Fn((u64, u64)) -> bool) -> Runs {
    if UNKNOWN.load(Ordering::Relaxed) {
        return Runs::Unknown;
    }
    let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else { return Runs::Unknown };
    let flags = EXECUTABLE | COVERING_OR_NEXT;
    let (mut address, mut any) = (0, false);
    loop {
        let mut query = Query { size: SIZE as u64, flags, address, ..Query::default() };
        if let Err(error) = ask(&maps, &mut query) {
            return match error.raw_os_error() {
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
        let file = (u64::from(query.major) << 32 | u64::from(query.minor), query.inode);
        let such = if query.inode == 0 { is_of_kernel(&maps, query.start) } else { test(file) };
        if !such {
            return Runs::Other;
        }
        (address, any) = (query.end, true);
    }
}

/// Is the mapping at `address`, which has no file, code that the kernel brings?
fn is_of_kernel(maps: &File, address: u64) -> bool {
    let mut name = [0_u8; NAME];
    let (place, name_size) = (name.as_mut_ptr() as u64, name.len() as u32);
    let mut query = Query { size: SIZE as u64, address, name: place, name_size, ..Query::default() };
    // A name that is too long is none of the kernel's.
    ask(maps, &mut query).is_ok() && name.starts_with(b"[vdso]\0")
}

fn ask(maps: &File, query: &mut Query) -> io::Result<()> {
    // SAFETY: the kernel reads and writes one `Query`; its buffers are null and have size 0, or are the
    // caller's, which outlive the call.
    let rc = unsafe { libc::ioctl(maps.as_raw_fd(), REQUEST, std::ptr::from_mut(query)) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
