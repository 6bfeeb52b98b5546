//! The function that the dynamic loader calls for debuggers (`r_brk` in `<link.h>`; `_dl_debug_state` in
//! glibc and musl): empty, called when the list of modules is about to change and when it has changed.
//!
//! While a program starts, it leads to code in a [`CodeCave`] by which, once the list is complete, the thread
//! sends itself `SIGURG`. The tracer gets the signal and keeps it. Were the tracer gone, the kernel would
//! drop it, as this signal is ignored unless a program asks for it, which none has done before it runs. The
//! tracer puts the empty body back at the last stop; [`mend`] does it for one that was killed before that.

use crate::{
    ProcessError,
    arch::{Registers, rendezvous},
    engine::target::{
        code_cave::CodeCave,
        loader::{R_STATE, debug_function},
        maps,
        modules::Module,
        process::Process,
        symbols::Symbols,
    },
};

/// What the loader tells debuggers, where it has a name (glibc).
const LIST: &str = "_r_debug";

/// The function, as found in one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rendezvous {
    /// Where it is.
    pub(super) address: u64,
    original: [u8; rendezvous::SIZE],
    /// Where the code is that it leads to.
    pub(super) cave: CodeCave,
    /// Where the state of the list is.
    state: Option<u64>,
    /// Where the instruction pointer is after the system call.
    after: u64,
}

impl Rendezvous {
    /// Finds the function in `loader`. `None` where its code is not as expected.
    pub(super) fn find(process: &Process, loader: &Module) -> Option<Self> {
        let symbols = Symbols::of(loader, &process.memory)?;
        let address = debug_function(process, loader)?;
        let mut original = [0; rendezvous::SIZE];
        process.memory.read_into(address, &mut original).ok()?;
        if !address.is_multiple_of(rendezvous::SIZE as u64) || !rendezvous::is_empty(&original) {
            return None;
        }
        let state = symbols.find(LIST, None).map(|list| list.address.wrapping_add(R_STATE));
        let others = process.modules.iter().filter(|m| m.path != "[vdso]");
        let cave = CodeCave::find([loader].into_iter().chain(others), &process.memory)?;
        Some(Self { address, original, cave, state, after: 0 })
    }

    /// Is `address` in it?
    pub(super) fn contains(&self, address: u64) -> bool {
        (self.address..self.address + rendezvous::SIZE as u64).contains(&address)
    }

    /// Makes the thread, which calls itself `tid`, send itself the signal there.
    pub(super) fn set(&mut self, process: &Process, tid: i32) -> Result<(), ProcessError> {
        let (code, after) = rendezvous::code(self.state, tid);
        self.after = self.cave.address + after;
        process.memory.write(self.cave.address, &code)?;
        process.memory.write(self.address, &rendezvous::lead(self.cave.address))
    }

    /// Puts the function back. No thread may be in it, but at its beginning.
    pub(super) fn clear(&self, process: &Process) -> Result<(), ProcessError> {
        process.memory.write(self.address, &self.original)
    }

    /// Empties the function whoever is in it: one write of the return alone, which no thread can see half of;
    /// one that is past it goes through the rest once more.
    pub(super) fn disarm(&self, process: &Process) -> Result<(), ProcessError> {
        process.memory.write(self.address, rendezvous::EMPTY)
    }

    /// Has the thread just sent itself the signal?
    pub(super) fn sent(&self, regs: &Registers) -> bool {
        regs.pc() == self.after
    }
}

/// Empties the function in a process where one that followed its start was killed on the way. Tells whether
/// there was something to mend.
///
/// # Errors
/// See [`ProcessError`].
pub fn mend(pid: i32) -> Result<bool, ProcessError> {
    let process = Process::open(pid, &crate::Options::default())?;
    let Some(loader) = process.loader() else { return Ok(false) };
    let Some(address) = debug_function(&process, loader) else { return Ok(false) };
    let lead = process.memory.read(address, rendezvous::LEAD_SIZE)?;
    let Some(to) = rendezvous::lead_target(&lead) else { return Ok(false) };
    // The room is in a page of its own module's code. What is there now may be what a batch has left.
    if !maps::at(&process.maps, to).is_some_and(|m| m.execute && !m.write && m.inode != 0) {
        return Ok(false);
    }
    // As `disarm`.
    process.memory.write(address, rendezvous::EMPTY).map(|()| true)
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
}
