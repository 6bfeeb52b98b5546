//! The function that the dynamic loader calls for debuggers (`r_brk` in `<link.h>`; `_dl_debug_state` in glibc and musl): empty,
//! called when the list of modules is about to change and when it has changed.
//!
//! While a program starts, its body is a system call by which the thread sends itself `SIGURG`. The tracer gets the signal and
//! keeps it. Were the tracer gone, the kernel would drop it, as this signal is ignored unless a program asks for it, which
//! none has done before it runs. The tracer puts the empty body back at the last stop; [`mend`] does it for one that was killed
//! before that.

use super::follow::MARK;
use crate::{
    ProcessError,
    sys::ptrace::Registers,
    target::{modules::Module, process::Process, symbols::Symbols},
};

const NAME: &str = "_dl_debug_state";
/// The function and the padding behind it: it is aligned to 16 bytes.
const SIZE: usize = 16;
/// `mov $tid,%edi; push $SIGURG; pop %rsi; mov $SYS_tkill,%eax; syscall; ret`, without the operand of the first. The registers are
/// those that any call may change (psABI §3.2.1), and the stack is as it was while the system call runs.
const BODY: [u8; SIZE] = [0xbf, 0, 0, 0, 0, 0x6a, MARK as u8, 0x5e, 0xb8, 200, 0, 0, 0, 0x0f, 0x05, 0xc3];
const RETURN: &[u8] = b"\xc3";
/// Where the instruction pointer is after the system call.
const AFTER: u64 = 15;

/// The function, as found in one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rendezvous {
    /// Where it is.
    pub(super) address: u64,
    original: [u8; SIZE],
}

impl Rendezvous {
    /// Finds the function in `loader`. `None` where it is not what it should be.
    pub(super) fn find(process: &Process, loader: &Module) -> Option<Self> {
        let address = Symbols::of(loader, &process.memory)?.find(NAME, None)?.address;
        let mut original = [0; SIZE];
        process.memory.read_into(address, &mut original).ok()?;
        (address.is_multiple_of(SIZE as u64) && is_empty(&original)).then_some(Self { address, original })
    }

    /// Is `address` in it?
    pub(super) fn contains(&self, address: u64) -> bool {
        (self.address..self.address + SIZE as u64).contains(&address)
    }

    /// Makes thread `tid` send itself the signal there.
    pub(super) fn set(&self, process: &Process, tid: i32) -> Result<(), ProcessError> {
        let mut body = BODY;
        body[1..5].copy_from_slice(&tid.to_le_bytes());
        process.memory.write(self.address, &body)
    }

    /// Puts the function back. No thread may be in it, but at its beginning.
    pub(super) fn clear(&self, process: &Process) -> Result<(), ProcessError> {
        process.memory.write(self.address, &self.original)
    }

    /// Empties the function whoever is in it: one write of the return alone, which no thread can see half of; one that is past it
    /// goes through the rest once more.
    pub(super) fn disarm(&self, process: &Process) -> Result<(), ProcessError> {
        process.memory.write(self.address, RETURN)
    }

    /// Has the thread just sent itself the signal?
    pub(super) fn sent(&self, regs: &Registers) -> bool {
        regs.rip == self.address + AFTER
    }
}

/// `ret`, perhaps behind `endbr64`, and only padding behind it.
fn is_empty(code: &[u8; SIZE]) -> bool {
    let rest = code.strip_prefix(b"\xf3\x0f\x1e\xfa").unwrap_or(code);
    let Some(mut rest) = rest.strip_prefix(b"\xc3") else { return false };
    // The operands of the long nops that assemblers pad with (`nopw 0(%rax,%rax,1)` and the like) are zero.
    while let Some((first, more)) = rest.split_first() {
        let nop = match first {
            0x90 | 0xcc => 0,
            0x66 | 0x2e => {
                rest = more;
                continue;
            }
            0x0f if more.first() == Some(&0x1f) => match more.get(1) {
                Some(0x00) => 2,
                Some(0x40) => 3,
                Some(0x44) => 4,
                Some(0x80) => 6,
                Some(0x84) => 7,
                // The last nop goes on behind what was read.
                None => return true,
                Some(_) => return false,
            },
            // Within the last nop.
            0x0f if more.is_empty() => return true,
            _ => return false,
        };
        rest = more.get(nop..).unwrap_or_default();
    }
    true
}

/// Empties the function in a process where one that followed its start was killed on the way. Tells whether there was something to
/// mend.
///
/// # Errors
/// See [`ProcessError`].
pub fn mend(pid: i32) -> Result<bool, ProcessError> {
    let process = Process::open(pid, &crate::Options::default())?;
    let Some(loader) = process.loader() else { return Ok(false) };
    let Some(found) = Symbols::of(loader, &process.memory).and_then(|s| s.find(NAME, None)) else {
        return Ok(false);
    };
    let mut code = [0; SIZE];
    process.memory.read_into(found.address, &mut code)?;
    if code[0] != BODY[0] || code[5..] != BODY[5..] {
        return Ok(false);
    }
    // As `disarm`.
    process.memory.write(found.address, RETURN).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_of_this_machine_has_it() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::open(pid, &crate::Options::default()).unwrap();
        assert!(Rendezvous::find(&process, process.loader().unwrap()).is_some());
        assert!(!mend(pid).unwrap());
    }

    #[test]
    fn only_an_empty_function_will_do() {
        let glibc = b"\xc3\x66\x66\x2e\x0f\x1f\x84\0\0\0\0\0\x0f\x1f\x40\0";
        assert!(is_empty(glibc));
        assert!(is_empty(b"\xf3\x0f\x1e\xfa\xc3\x66\x66\x2e\x0f\x1f\x84\0\0\0\0\0"));
        assert!(is_empty(b"\xc3\x66\x90\x66\x2e\x0f\x1f\x84\0\0\0\0\0\x90\x90\x90"));
        assert!(!is_empty(b"\xc3\x48\x8d\x05\xa1\x20\x03\0\x48\x85\xff\x74\x14\x48\x8d\x04"));
        assert!(!is_empty(b"\x31\xc0\xc3\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90"));
    }
}
