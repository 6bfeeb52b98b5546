//! Instructions that the target has already and that we borrow.

use crate::{
    ProcessError,
    arch::gadgets::{SIGRETURN, SYSCALL},
    engine::target::{maps::Mapping, process::Process},
};
use memchr::memmem;
use std::sync::{Mutex, PoisonError};

/// Addresses of borrowed instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gadgets {
    /// Makes a system call, and returns.
    pub syscall: u64,
    /// Makes the system call `rt_sigreturn`.
    pub sigreturn: u64,
}

/// Searched at a time, in bytes.
const PIECE: u64 = 1 << 16;
const OVERLAP: u64 = 16;

/// Where in a file's mapping the instructions were found last. Only a hint: what a process really has there
/// is read from it, so no process can lead us astray in another.
#[derive(Clone, Copy, Debug)]
struct Hint {
    /// Device, inode and offset of the mapping.
    mapping: (u64, u64, u64),
    /// Offsets from its start.
    syscall: u64,
    sigreturn: u64,
}

static HINT: Mutex<Option<Hint>> = Mutex::new(None);

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
        let hint = *HINT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = hint.and_then(|h| Self::at_hint(process, &executable, h)) {
            return Ok(found);
        }
        let (mut syscall, mut sigreturn) = (None, None);
        let mut bytes = Vec::new();
        for mapping in &executable {
            let mut at = mapping.start;
            while at < mapping.end {
                let len = (mapping.end - at).min(PIECE + OVERLAP);
                bytes.resize(usize::try_from(len).unwrap_or(0), 0);
                if process.memory.read_into(at, &mut bytes).is_err() {
                    break;
                }
                let find = |needle| memmem::find(&bytes, needle).map(|i| at + i as u64);
                let here = |found: Option<u64>| found.is_none_or(|at| mapping.contains(at));
                // Both are taken from one mapping, so that one hint finds both.
                syscall = syscall.filter(|_| here(syscall)).or_else(|| find(SYSCALL));
                sigreturn = sigreturn
                    .filter(|_| here(sigreturn))
                    .or_else(|| SIGRETURN.iter().find_map(|gadget| find(gadget)));
                if let (Some(syscall), Some(sigreturn)) = (syscall, sigreturn) {
                    Self::remember(mapping, syscall, sigreturn);
                    return Ok(Self { syscall, sigreturn });
                }
                at += PIECE;
            }
        }
        Err(ProcessError::unfit("its code has no `syscall; ret` or no signal return sequence to borrow"))
    }

    fn remember(mapping: &Mapping, syscall: u64, sigreturn: u64) {
        tracing::debug!(file = mapping.name, syscall, sigreturn, "instructions to borrow are found");
        let (syscall, sigreturn) = (syscall - mapping.start, sigreturn - mapping.start);
        let mapping = (mapping.device, mapping.inode, mapping.offset);
        *HINT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Hint { mapping, syscall, sigreturn });
    }

    fn at_hint(process: &Process, executable: &[&Mapping], hint: Hint) -> Option<Self> {
        let same = |m: &&&Mapping| (m.device, m.inode, m.offset) == hint.mapping && m.inode != 0;
        let mapping = executable.iter().find(same)?;
        let (syscall, sigreturn) = (mapping.start + hint.syscall, mapping.start + hint.sigreturn);
        let has = |at: u64, gadget: &[u8]| {
            let inside = mapping.contains(at) && mapping.contains(at + gadget.len() as u64 - 1);
            inside && process.memory.read(at, gadget.len()).is_ok_and(|bytes| bytes == gadget)
        };
        let found = has(syscall, SYSCALL) && SIGRETURN.iter().any(|gadget| has(sigreturn, gadget));
        found.then_some(Self { syscall, sigreturn })
    }
}
