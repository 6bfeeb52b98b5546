//! Instructions that programs have and that are borrowed from them.

/// `syscall; ret`.
pub(crate) const SYSCALL: &[u8] = b"\x0f\x05\xc3";
/// The system call `rt_sigreturn`: `mov $15,%rax` (glibc, musl), `mov $15,%eax` or `push $15; pop %rax`, then
/// `syscall`.
pub(crate) const SIGRETURN: [&[u8]; 3] =
    [b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05", b"\xb8\x0f\0\0\0\x0f\x05", b"\x6a\x0f\x58\x0f\x05"];
