//! Several system calls in one go, made by the one thread of a program that has not begun yet, or by a
//! borrowed thread ([`super::BorrowedThread::batch`]).
//!
//! The former stands in a call of an empty function ([`crate::start`]): its registers are those that any
//! function may change, and a return is its way home. So no more is needed than a function that makes the
//! calls and returns. It is written to where nothing is: behind the end of a code segment, in the rest of its
//! last page ([`CodeCave`]). When all is done, or a call has failed, it sends its own thread `SIGURG`, for
//! whoever traces it. Were the tracer gone, that would be ignored, and the function returns.

use crate::{
    ProcessError,
    arch::{Registers, batch},
    engine::target::{code_cave::CodeCave, memory::Memory, process::Process, steps::Steps},
    sys::{
        call::SystemCall,
        ptrace,
        wait::{self, Report},
    },
};
use std::{
    io,
    time::{Duration, Instant},
};

/// What the whole may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A stopped thread that can be made to run batches. It stays stopped where it was.
#[derive(Debug)]
pub(crate) struct SyscallBatch<'a> {
    pid: i32,
    tid: i32,
    /// What the thread calls itself.
    own_id: i32,
    memory: &'a Memory,
    steps: &'a Steps,
    cave: CodeCave,
    /// With these it stands where it returns from the code of a batch.
    returns: Registers,
    /// With these it is left standing.
    home: Registers,
    /// Signals that came meanwhile, sent again at the end.
    kept: Vec<i32>,
}

impl<'a> SyscallBatch<'a> {
    /// With the thread that is held. `None` where it is not at such a place, or there is no room.
    pub(crate) fn begin(process: &'a Process, steps: &'a Steps) -> Result<Option<Self>, ProcessError> {
        let Some((tid, cave)) = process.held.and_then(|h| Some((h.tid, h.cave?))) else { return Ok(None) };
        let what = "cannot read registers";
        let home = Registers::read(tid).map_err(ProcessError::os(what))?.outside_call();
        // It is the only thread of its process, so the process's status is its own.
        let own_id = process.status.own_id_of(tid);
        let (pid, memory) = (process.pid, &process.memory);
        Ok(Some(Self { pid, tid, own_id, memory, steps, cave, returns: home, home, kept: Vec::new() }))
    }

    /// With a thread of a running process, which takes every other signal than `SIGURG` later.
    pub(super) fn of(
        (pid, tid, own_id): (i32, i32, i32),
        memory: &'a Memory,
        steps: &'a Steps,
        cave: CodeCave,
        (returns, home): (Registers, Registers),
    ) -> Self {
        Self { pid, tid, own_id, memory, steps, cave, returns, home, kept: Vec::new() }
    }

    /// Where the data of [`SyscallBatch::run`] are.
    pub(crate) fn data(&self) -> u64 {
        self.cave.address
    }

    /// Is there room for these data and calls?
    pub(crate) fn has_room(&self, data: &[u8], calls: &[SystemCall]) -> bool {
        let mut code = Vec::new();
        batch::write(&mut code, self.own_id, &self.returns, calls).is_some()
            && (data.len().next_multiple_of(16) + code.len()) as u64 <= self.cave.size
    }

    /// Makes the calls one after the other, up to the first that fails. Gives the result of each that was
    /// made.
    ///
    /// # Errors
    /// When the thread does not come back, or there is not room enough; not for what a call fails with.
    pub(crate) fn run(
        &mut self,
        what: &str,
        data: &[u8],
        calls: &[SystemCall],
    ) -> Result<Vec<io::Result<u64>>, ProcessError> {
        let start = data.len().next_multiple_of(16);
        let mut bytes = data.to_vec();
        bytes.resize(start, 0);
        let mark = batch::write(&mut bytes, self.own_id, &self.returns, calls);
        let Some(mark) = mark.filter(|_| bytes.len() as u64 <= self.cave.size) else {
            return Err(ProcessError::unfit(format!("{what}: no room for so many system calls")));
        };
        self.steps.next("write system calls")?;
        self.memory.write(self.cave.address, &bytes)?;
        let regs = self.returns.with_pc(self.cave.address + start as u64);
        self.steps.next("set the registers for system calls")?;
        regs.write(self.tid).map_err(ProcessError::os(what))?;
        self.steps.next("make system calls")?;
        let at = self.await_mark(what, self.cave.address + mark as u64);
        if let Ok(at) = &at
            && let Some(results) = batch::results(&self.returns, at)
        {
            self.steps.next("read what system calls gave")?;
            let len = usize::try_from(results.end - results.start).unwrap_or(0);
            let stack = self.memory.read(results.start, len)?;
            let words = stack.rchunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_le_bytes));
            let results = words.zip(calls).map(|(returned, call)| call.result(returned)).collect();
            self.home.write(self.tid).map_err(ProcessError::os(what))?;
            return Ok(results);
        }
        // It is at home, or on its way there, by itself.
        Err(at.err().unwrap_or_else(|| ProcessError::unfit(format!("{what}: it lost its way"))))
    }

    fn await_mark(&mut self, what: &str, mark: u64) -> Result<Registers, ProcessError> {
        let started = Instant::now();
        ptrace::cont(self.tid, 0).map_err(ProcessError::os(what))?;
        loop {
            match wait::wait(self.tid).map_err(ProcessError::os(what))? {
                Report::Ended => return Err(ProcessError::Gone),
                Report::Nothing if started.elapsed() > PATIENCE => {
                    return Err(ProcessError::unfit(format!("{what}: it does not come back")));
                }
                Report::Nothing => continue,
                Report::Signal(signal) => {
                    let at = Registers::read(self.tid).map_err(ProcessError::os(what))?;
                    if signal == libc::SIGURG && at.pc() == mark {
                        return Ok(at);
                    }
                    // Sent for a file that is larger than the process may make one (RLIMIT_FSIZE): that is
                    // about our calls.
                    if signal != libc::SIGXFSZ {
                        self.kept.push(signal);
                    }
                }
                Report::Interrupted | Report::Suspended | Report::Syscall | Report::Event(_) => {}
            }
            ptrace::cont(self.tid, 0).map_err(ProcessError::os(what))?;
        }
    }
}

impl Drop for SyscallBatch<'_> {
    fn drop(&mut self) {
        for signal in self.kept.drain(..) {
            // Fails only for a process that has ended.
            let _ = wait::send(self.pid, self.tid, signal);
        }
    }
}
