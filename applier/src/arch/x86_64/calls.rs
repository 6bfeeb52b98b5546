//! System calls, as far as machines differ in them.

use super::registers::Registers;

/// `io_pgetevents`, which the libc crate does not name on x86-64.
pub(crate) const IO_PGETEVENTS: i64 = 333;

/// System calls that give EINTR on any wake-up (signal(7)), or on one while a timeout is set on the socket,
/// and that can be made again since they have done nothing yet. (`connect` goes on waiting when it is made
/// again; the kernel itself does so where no timeout is set.) `close` cannot.
pub(crate) const RESTARTABLE: [i64; 19] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_io_getevents,
    IO_PGETEVENTS,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_io_uring_enter,
];

/// The calls among them whose fourth argument is a timeout in milliseconds.
pub(crate) const IN_MILLISECONDS: [i64; 2] = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait];

/// System calls that open a file.
pub(crate) const OPENING: [i64; 3] = [libc::SYS_openat, libc::SYS_open, libc::SYS_openat2];

const ARCH_SET_FS: u64 = 0x1002;

/// Is this, at a stop after a system call, the one by which a static program sets its thread pointer? It
/// makes it after it has relocated itself and before its constructors.
pub(crate) fn has_set_thread_pointer(registers: &Registers) -> bool {
    registers.call() == Some(libc::SYS_arch_prctl)
        && registers.argument(0) == ARCH_SET_FS
        && registers.result() == 0
}
