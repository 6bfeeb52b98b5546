//! Instructions that the target has already and that we borrow.

use crate::{ProcessError, target::process::Process};
use memchr::memmem;

/// Addresses of borrowed instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gadgets {
    /// `syscall; ret`.
    pub syscall: u64,
    /// Makes the system call `rt_sigreturn`.
    pub sigreturn: u64,
}

const SYSCALL: &[u8] = b"\x0f\x05\xc3";
/// `mov $15,%rax` (glibc, musl), `mov $15,%eax` or `push $15; pop %rax`, then `syscall`.
const SIGRETURN: [&[u8]; 3] =
    [b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05", b"\xb8\x0f\0\0\0\x0f\x05", b"\x6a\x0f\x58\x0f\x05"];

/// Searched at a time, in bytes.
const PIECE: u64 = 1 << 20;
const OVERLAP: u64 = 16;

impl Gadgets {
    /// Finds the instructions in executable memory of the process; in libc first, where they normally are.
    ///
    /// # Errors
    /// [`ProcessError::Unfit`] when there are none: without them, our death would be the process's.
    pub(crate) fn find(process: &Process) -> Result<Self, ProcessError> {
        let mut executable: Vec<_> = process
            .maps
            .iter()
            .filter(|m| m.execute && m.read && m.name != "[vsyscall]" && !m.write)
            .collect();
        executable.sort_by_key(|m| {
            let file = m.name.rsplit('/').next().unwrap_or("");
            !(file.starts_with("libc.") || file.starts_with("libc-") || file.starts_with("ld-musl"))
        });
        let (mut syscall, mut sigreturn) = (None, None);
        for mapping in executable {
            let mut at = mapping.start;
            while at < mapping.end {
                let len = (mapping.end - at).min(PIECE + OVERLAP);
                let Ok(bytes) = process.memory.read(at, usize::try_from(len).unwrap_or(0)) else { break };
                let find = |needle| memmem::find(&bytes, needle).map(|i| at + i as u64);
                syscall = syscall.or_else(|| find(SYSCALL));
                sigreturn = sigreturn.or_else(|| SIGRETURN.iter().find_map(|g| find(g)));
                if let (Some(syscall), Some(sigreturn)) = (syscall, sigreturn) {
                    return Ok(Self { syscall, sigreturn });
                }
                at += PIECE;
            }
        }
        Err(ProcessError::unfit("its code has no `syscall; ret` or no signal return sequence to borrow"))
    }
}
