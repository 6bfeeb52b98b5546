//! The function that the dynamic loader calls for debuggers (`r_brk` in `<link.h>`; `_dl_debug_state` in glibc and musl): empty,
//! called when the list of modules is about to change and when it has changed.
//!
//! While a program starts, it leads to code in a [`Room`] by which, once the list is complete, the thread sends itself `SIGURG`. The tracer
//! gets the signal and keeps it. Were the tracer gone, the kernel would drop it, as this signal is ignored unless a program asks for
//! it, which none has done before it runs. The tracer puts the empty body back at the last stop; [`mend`] does it for one that was
//! killed before that.

use crate::{
    ProcessError,
    engine::{
        remote::write_mark,
        target::{
            loader::{R_STATE, debug_function},
            maps,
            modules::Module,
            process::Process,
            room::Room,
            symbols::Symbols,
        },
    },
    sys::ptrace::Registers,
};

/// What the loader tells debuggers, where it has a name (glibc).
const LIST: &str = "_r_debug";
/// The function and the padding behind it: it is aligned to 16 bytes.
const SIZE: usize = 16;
/// `mov $room,%rax; jmp *%rax`, without the operand of the first.
const LEAD: ([u8; 2], [u8; 2]) = ([0x48, 0xb8], [0xff, 0xe0]);
const RETURN: u8 = 0xc3;

/// The function, as found in one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rendezvous {
    /// Where it is.
    pub(super) address: u64,
    original: [u8; SIZE],
    /// Where the code is that it leads to.
    pub(super) room: Room,
    /// Where the state of the list is.
    state: Option<u64>,
    /// Where the instruction pointer is after the system call.
    after: u64,
}

impl Rendezvous {
    /// Finds the function in `loader`. `None` where it is not what it should be.
    pub(super) fn find(process: &Process, loader: &Module) -> Option<Self> {
        let symbols = Symbols::of(loader, &process.memory)?;
        let address = debug_function(process, loader)?;
        let mut original = [0; SIZE];
        process.memory.read_into(address, &mut original).ok()?;
        if !address.is_multiple_of(SIZE as u64) || !is_empty(&original) {
            return None;
        }
        let state = symbols.find(LIST, None).map(|list| list.address.wrapping_add(R_STATE));
        let others = process.modules.iter().filter(|m| m.path != "[vdso]");
        let room = Room::find([loader].into_iter().chain(others), &process.memory)?;
        Some(Self { address, original, room, state, after: 0 })
    }

    /// Is `address` in it?
    pub(super) fn contains(&self, address: u64) -> bool {
        (self.address..self.address + SIZE as u64).contains(&address)
    }

    /// Makes the thread, which calls itself `tid`, send itself the signal there.
    pub(super) fn set(&mut self, process: &Process, tid: i32) -> Result<(), ProcessError> {
        let code = code(self.state, tid);
        self.after = self.room.address + code.len() as u64 - 1;
        process.memory.write(self.room.address, &code)?;
        let [a, b, c, d, e, f, g, h] = self.room.address.to_le_bytes();
        let ([x, y], [j, k]) = LEAD;
        process.memory.write(self.address, &[x, y, a, b, c, d, e, f, g, h, j, k])
    }

    /// Puts the function back. No thread may be in it, but at its beginning.
    pub(super) fn clear(&self, process: &Process) -> Result<(), ProcessError> {
        process.memory.write(self.address, &self.original)
    }

    /// Empties the function whoever is in it: one write of the return alone, which no thread can see half of; one that is past it
    /// goes through the rest once more.
    pub(super) fn disarm(&self, process: &Process) -> Result<(), ProcessError> {
        process.memory.write(self.address, &[RETURN])
    }

    /// Has the thread just sent itself the signal?
    pub(super) fn sent(&self, regs: &Registers) -> bool {
        regs.rip == self.after
    }
}

/// The code that the function leads to. The registers are those that any call may change (psABI §3.2.1), and the stack is as it was
/// while the system call runs.
fn code(state: Option<u64>, tid: i32) -> Vec<u8> {
    let mut mark = Vec::new();
    write_mark(&mut mark, tid);
    let mut code = Vec::new();
    if let Some(state) = state {
        // mov $state,%rax; cmpl $0,(%rax); jne (behind the system call)
        code.extend([0x48, 0xb8]);
        code.extend(state.to_le_bytes());
        code.extend([0x83, 0x38, 0, 0x75, mark.len() as u8]);
    }
    code.extend(mark);
    code.push(RETURN);
    code
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
    let Some(address) = debug_function(&process, loader) else { return Ok(false) };
    let lead = process.memory.read(address, 12)?;
    let Some(to) = lead.strip_prefix(&LEAD.0).and_then(|l| l.strip_suffix(&LEAD.1)) else { return Ok(false) };
    let to = to.try_into().map_or(0, u64::from_le_bytes);
    // The room is in a page of its own module's code. What is there now may be what an errand has left.
    if !maps::at(&process.maps, to).is_some_and(|m| m.execute && !m.write && m.inode != 0) {
        return Ok(false);
    }
    // As `disarm`.
    process.memory.write(address, &[RETURN]).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_of_this_machine_has_it() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::open(pid, &crate::Options::default()).unwrap();
        let found = Rendezvous::find(&process, process.loader().unwrap()).unwrap();
        assert_eq!(process.memory.read(found.state.unwrap(), 4).unwrap(), [0; 4]);
        assert!(!mend(pid).unwrap());
    }

    #[test]
    fn the_branch_leads_to_the_return() {
        let with = code(Some(0x7f00_0000_1000), 4711);
        let without = code(None, 4711);
        assert_eq!(with[15..], without);
        assert_eq!(with[15 + usize::from(with[14])], RETURN);
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
