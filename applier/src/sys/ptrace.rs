#![expect(unsafe_code, reason = "ptrace has no safe interface in std")]
//! ptrace(2), one small function per request. All of them act on one thread (`tid`).

use std::{io, mem, ptr};

const PTRACE_GETSIGMASK: libc::c_uint = 0x420a;
const PTRACE_SETSIGMASK: libc::c_uint = 0x420b;
const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;
/// The set of registers that is `struct user_regs_struct`.
const NT_PRSTATUS: usize = 1;

/// Stops at a system call are told from signals.
pub(crate) const SYSGOOD: i32 = libc::PTRACE_O_TRACESYSGOOD;
/// A thread that executes another program stops when that is done.
pub(crate) const TRACE_EXEC: i32 = libc::PTRACE_O_TRACEEXEC;
/// Seccomp filters do not act while we are attached (needs `CAP_SYS_ADMIN`).
pub(crate) const SUSPEND_SECCOMP: i32 = libc::PTRACE_O_SUSPEND_SECCOMP;

fn plain(request: libc::c_uint, tid: i32, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests passed here take integers in `addr` and `data`, not addresses of this process.
    let rc = unsafe { libc::ptrace(request, tid, addr as *mut libc::c_void, data as *mut libc::c_void) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attaches without stopping.
pub(crate) fn seize(tid: i32, options: i32) -> io::Result<()> {
    plain(libc::PTRACE_SEIZE, tid, 0, usize::try_from(options).unwrap_or(0))
}

/// Replaces the options of a stopped thread.
pub(crate) fn set_options(tid: i32, options: i32) -> io::Result<()> {
    plain(libc::PTRACE_SETOPTIONS, tid, 0, usize::try_from(options).unwrap_or(0))
}

/// Asks a seized thread to stop.
pub(crate) fn interrupt(tid: i32) -> io::Result<()> {
    plain(libc::PTRACE_INTERRUPT, tid, 0, 0)
}

/// Goes on, delivering `signal` if it is not 0 and the thread is about to receive it.
pub(crate) fn cont(tid: i32, signal: i32) -> io::Result<()> {
    plain(libc::PTRACE_CONT, tid, 0, usize::try_from(signal).unwrap_or(0))
}

/// Goes on to the next entry to or exit from a system call.
pub(crate) fn syscall(tid: i32, signal: i32) -> io::Result<()> {
    plain(libc::PTRACE_SYSCALL, tid, 0, usize::try_from(signal).unwrap_or(0))
}

/// The same, up to where it stops for an [`interrupt`]. Whatever else a thread stops for makes the kernel
/// forget that it was asked to (`ptrace_stop` in kernel/signal.c), so it is asked once more; nothing of it
/// runs before, save that it goes to the signal's handler.
pub(crate) fn cont_to_interrupt(tid: i32, signal: i32) -> io::Result<()> {
    interrupt(tid).and_then(|()| cont(tid, signal))
}

/// Lets a stopped thread go.
pub(crate) fn detach(tid: i32) -> io::Result<()> {
    plain(libc::PTRACE_DETACH, tid, 0, 0)
}

/// Reads the general registers.
pub(crate) fn registers(tid: i32) -> io::Result<libc::user_regs_struct> {
    // SAFETY: all-zero is a value of this plain C structure.
    let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
    let mut io = libc::iovec { iov_base: (&raw mut regs).cast(), iov_len: size_of_val(&regs) };
    // SAFETY: the kernel writes at most `iov_len` bytes to the structure and the length back to `io`.
    let rc = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, &raw mut io) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(regs) }
}

/// Sets the general registers, all in one.
pub(crate) fn set_registers(tid: i32, regs: &libc::user_regs_struct) -> io::Result<()> {
    let mut io = libc::iovec { iov_base: ptr::from_ref(regs).cast_mut().cast(), iov_len: size_of_val(regs) };
    // SAFETY: the kernel reads at most `iov_len` bytes from the structure.
    let rc = unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, &raw mut io) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads the mask of blocked signals.
pub(crate) fn signal_mask(tid: i32) -> io::Result<u64> {
    let mut mask = 0u64;
    // SAFETY: the kernel writes 8 bytes, as `addr` says.
    let rc = unsafe { libc::ptrace(PTRACE_GETSIGMASK, tid, 8usize, &raw mut mask) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(mask) }
}

/// Sets the mask of blocked signals.
pub(crate) fn set_signal_mask(tid: i32, mask: u64) -> io::Result<()> {
    // SAFETY: the kernel reads 8 bytes, as `addr` says.
    let rc = unsafe { libc::ptrace(PTRACE_SETSIGMASK, tid, 8usize, &raw const mask) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads a set of registers (`NT_…`), at most `most` bytes of it.
pub(crate) fn register_set(tid: i32, kind: usize, most: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; most];
    let mut io = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes to the buffer and the length back to `io`.
    let rc = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid, kind, &raw mut io) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    buffer.truncate(io.iov_len);
    Ok(buffer)
}

/// Sets it to what [`register_set`] gave.
pub(crate) fn set_register_set(tid: i32, kind: usize, bytes: &[u8]) -> io::Result<()> {
    let mut io = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the kernel reads at most `iov_len` bytes from the buffer.
    let rc = unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid, kind, &raw mut io) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Where the thread has its `struct rseq`, and the signature it has registered with it (ptrace(2),
/// `struct ptrace_rseq_configuration`). `None`: nowhere.
///
/// # Errors
/// `EIO` before Linux 5.13.
pub(crate) fn restartable(tid: i32) -> io::Result<Option<(u64, u32)>> {
    let mut configuration = [0u32; 6];
    let size = mem::size_of_val(&configuration);
    // SAFETY: the kernel writes at most as many bytes as `addr` says.
    let rc = unsafe { libc::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, size, configuration.as_mut_ptr()) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high, _, signature, ..] = configuration;
    let area = u64::from(high) << 32 | u64::from(low);
    Ok((area != 0).then_some((area, signature)))
}

/// Signals waiting for the thread, or (`shared`) for any thread of its process; at most 32 are looked at.
pub(crate) fn pending_signals(tid: i32, shared: bool) -> io::Result<Vec<i32>> {
    // SAFETY: all-zero is a value of these plain C structures.
    let mut infos: [libc::siginfo_t; 32] = unsafe { mem::zeroed() };
    let args = libc::ptrace_peeksiginfo_args {
        off: 0,
        flags: if shared { libc::PTRACE_PEEKSIGINFO_SHARED } else { 0 },
        nr: 32,
    };
    // SAFETY: the kernel reads `args` and writes at most `nr` elements to the array.
    let rc = unsafe { libc::ptrace(libc::PTRACE_PEEKSIGINFO, tid, &raw const args, infos.as_mut_ptr()) };
    let count = usize::try_from(rc).map_err(|_| io::Error::last_os_error())?;
    Ok(infos[..count].iter().map(|i| i.si_signo).collect())
}

/// Reads a word of the thread's memory.
pub(crate) fn word(tid: i32, address: u64) -> io::Result<u64> {
    let mut word = 0u64;
    // SAFETY: the kernel writes one word, which the raw call returns through `data`.
    let rc = unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKDATA, tid, address, &raw mut word) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(word) }
}

/// Writes a word of the thread's memory.
pub(crate) fn set_word(tid: i32, address: u64, word: u64) -> io::Result<()> {
    let cast = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    plain(libc::PTRACE_POKEDATA, tid, cast(address), cast(word))
}
