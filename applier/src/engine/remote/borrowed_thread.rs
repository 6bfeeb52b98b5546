//! A stopped thread that runs things for us.
//!
//! Before its registers are changed, a complete signal frame with its present state is written below its
//! stack. From then on, at every point where we could die, the next thing the thread would do by itself leads
//! to `rt_sigreturn` on that frame, and it goes on where it was. While we live, the registers are put back
//! directly, so that the kernel's own restart of interrupted system calls works.

use super::{Gadgets, SyscallBatch, sequence};
use crate::{
    ProcessError,
    arch::{Registers, borrow, frame},
    engine::target::{
        code_cave::CodeCave, frames::Tables, memory::Memory, process::Process, stack, steps::Steps,
        threads::Thread,
    },
    sys::{
        call::result_of,
        ptrace,
        wait::{self, Report},
    },
};
use std::{
    io,
    time::{Duration, Instant},
};

/// A thread taken over. Dropping gives it its state back; it stays stopped.
#[derive(Debug)]
pub(crate) struct BorrowedThread<'a> {
    pid: i32,
    tid: i32,
    memory: &'a Memory,
    steps: &'a Steps,
    gadgets: Gadgets,
    original: Registers,
    mask: u64,
    extended: Vec<u8>,
    /// Address of the frame's return address slot.
    frame: u64,
    /// What the thread uses instead of its own stack.
    ours: Option<ScratchStack>,
    /// It was not in a system call: the kernel has none to restart on its way back.
    at_ease: bool,
    /// A step failed in the middle: where the thread is, is not known until it is put back.
    lost: bool,
    /// SIGSTOP and the like that came meanwhile: cannot be blocked, are sent again at the end.
    kept: Vec<i32>,
    restored: bool,
}

/// Memory for a thread whose own stack is not known, or has no room.
#[derive(Debug)]
struct ScratchStack {
    /// Where nothing is: has a small frame.
    cave: CodeCave,
    /// Address of that frame.
    frame: u64,
    /// Mapped for as long as it is borrowed.
    stack: u64,
}

/// Size of a stack of ours.
const STACK: u64 = 128 << 10;

/// Stack that functions called in the target may use, in bytes.
pub(crate) const FUNCTION_ROOM: u64 = 8 * 1024;
/// Room below the frame for data that system calls read.
const DATA: u64 = 1024;
/// What a function called in the target may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has one of these stopped threads `room` bytes on its own stack, besides what it takes to come back?
///
/// # Errors
/// When a thread ends meanwhile.
pub(crate) fn has_room(
    process: &Process,
    threads: &[Thread],
    tables: &mut Tables,
    room: u64,
) -> Result<bool, ProcessError> {
    for thread in threads {
        if elsewhere(process, thread).is_some() {
            return Ok(true);
        }
        let own = stack::room(process, tables, thread);
        if own <= room {
            continue;
        }
        let frame = frame::build(&thread.registers, 0, &extended_state(thread.tid)?, 0);
        if own >= below(&thread.registers, frame.start, room) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the way back of a thread can be that cannot have it on its stack. What the thread has in its
/// registers must be little, so it must be in a system call.
fn elsewhere(process: &Process, thread: &Thread) -> Option<CodeCave> {
    let in_call = thread.registers.call().is_some();
    let modules = process.modules.iter().filter(|m| in_call && m.path != "[vdso]");
    CodeCave::find(modules, &process.memory)
}

fn extended_state(tid: i32) -> Result<Vec<u8>, ProcessError> {
    frame::extended_state(tid).map_err(ProcessError::os("cannot read extended registers"))
}

/// Bytes below the stack pointer up to which something is written: the frame at `frame`, data, and what a
/// function uses.
fn below(registers: &Registers, frame: u64, room: u64) -> u64 {
    registers.sp().saturating_sub(frame).saturating_add(DATA + room)
}

impl<'a> BorrowedThread<'a> {
    /// Takes a stopped thread over. Where its own stack is not known to have `room` bytes more than it takes
    /// to come back, it gets one of ours; `None` where that is not possible either.
    ///
    /// # Errors
    /// When the thread ends meanwhile.
    pub(crate) fn begin(
        process: &'a Process,
        thread: &Thread,
        tables: &mut Tables,
        gadgets: Gadgets,
        room: u64,
        steps: &'a Steps,
    ) -> Result<Option<Self>, ProcessError> {
        let tid = thread.tid;
        let pc = sequence::way_on(tid, &thread.registers, &process.memory);
        let original = thread.registers.with_pc(pc);
        let mask = ptrace::signal_mask(tid).map_err(ProcessError::os("cannot read the signal mask"))?;
        let extended = extended_state(tid)?;
        if original.sp() < 1 << 16 {
            return Ok(None);
        }
        let own = frame::build(&original, mask, &extended, gadgets.sigreturn);
        let has_own = stack::room(process, tables, thread) >= below(&original, own.start, room);
        let other = if has_own { None } else { elsewhere(process, thread) };
        let frame = match other {
            _ if has_own => own,
            Some(cave) => {
                frame::small(&original, mask, &extended, gadgets.sigreturn, cave.address + cave.size)
            }
            None => return Ok(None),
        };
        steps.next("write the way back")?;
        process.memory.write(frame.start, &frame.bytes)?;
        let mut borrowed = Self {
            pid: process.pid,
            tid,
            memory: &process.memory,
            steps,
            gadgets,
            original,
            mask,
            extended,
            frame: frame.start,
            ours: other.map(|cave| ScratchStack { cave, frame: frame.start, stack: 0 }),
            at_ease: original.call().is_none() && !thread.suspended,
            lost: false,
            kept: Vec::new(),
            restored: false,
        };
        steps.next("lead the thread to the way back")?;
        borrowed.park()?;
        steps.next("block signals")?;
        ptrace::set_signal_mask(tid, u64::MAX).map_err(ProcessError::os("cannot block signals"))?;
        borrowed.take_stack()?;
        Ok(Some(borrowed))
    }

    /// Goes over to a stack of ours, where that is wanted.
    fn take_stack(&mut self) -> Result<(), ProcessError> {
        let Some(ours) = &self.ours else { return Ok(()) };
        let small = ours.frame;
        const READ_WRITE: u64 = 3;
        let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let args = [0, STACK, READ_WRITE, private, u64::MAX, 0];
        let stack = self.call("mmap", libc::SYS_mmap, args)?;
        let top = stack + STACK;
        let frame = frame::place(&self.original, self.mask, &self.extended, self.gadgets.sigreturn, top);
        self.steps.next("write the way back to a stack of ours")?;
        self.memory.write(frame.start, &frame.bytes)?;
        self.ours = self.ours.take().map(|ours| ScratchStack { stack, frame: small, ..ours });
        self.frame = frame.start;
        self.steps.next("go over to it")?;
        self.park()
    }

    /// Goes back to the small frame and gives the stack back.
    fn leave_stack(&mut self) {
        let Some((frame, stack)) = self.ours.as_ref().map(|o| (o.frame, o.stack)).filter(|(_, s)| *s != 0)
        else {
            return;
        };
        if self.lost {
            return;
        }
        self.frame = frame;
        // What stays mapped harms nobody.
        let _ = self.call("munmap", libc::SYS_munmap, [stack, STACK, 0, 0, 0, 0]);
    }

    /// Registers from which the thread by itself returns to where it was.
    fn parked(&self) -> Registers {
        self.original.returning(self.gadgets.sigreturn, self.frame)
    }

    fn park(&self) -> Result<(), ProcessError> {
        self.parked().write(self.tid).map_err(ProcessError::os("cannot set registers"))
    }

    /// For several system calls in one go, with code in `cave`. `None` for a thread that has the way back
    /// there. Afterwards [`Self::returned`] must be told how it went.
    ///
    /// # Errors
    /// When the thread has ended.
    pub(crate) fn batch(
        &mut self,
        own_id: i32,
        cave: CodeCave,
    ) -> Result<Option<SyscallBatch<'a>>, ProcessError> {
        if self.ours.is_some() {
            return Ok(None);
        }
        // It comes back by a signal to itself.
        let urgent = 1 << (libc::SIGURG - 1);
        ptrace::set_signal_mask(self.tid, !urgent).map_err(ProcessError::os("cannot set the signal mask"))?;
        let home = self.parked();
        let returns = home.calling(self.gadgets.syscall, [0; 3], self.frame, 0);
        let ids = (self.pid, self.tid, own_id);
        Ok(Some(SyscallBatch::of(ids, self.memory, self.steps, cave, (returns, home))))
    }

    /// A batch with code in `cave` is over.
    pub(crate) fn returned<T>(&mut self, cave: CodeCave, result: &Result<T, ProcessError>) {
        self.lost |= result.is_err();
        if !self.lost {
            // Others look for it by its being empty.
            let _ = self.memory.write(cave.address, &vec![0; usize::try_from(cave.size).unwrap_or(0)]);
        }
    }

    /// Puts data where system calls can read it; valid until the next call of this function.
    pub(crate) fn put(&self, data: &[u8]) -> Result<u64, ProcessError> {
        let address = self.frame - DATA;
        self.memory.write(address, data.get(..data.len().min(DATA as usize)).unwrap_or_default())?;
        Ok(address)
    }

    /// Makes a system call.
    ///
    /// # Errors
    /// What the call fails with as [`ProcessError::Os`]; [`ProcessError::Gone`].
    pub(crate) fn call(&mut self, what: &str, number: i64, args: [u64; 6]) -> Result<u64, ProcessError> {
        self.try_call(what, number, args)?
            .map_err(|source| ProcessError::Os { what: format!("{what} in the process"), source })
    }

    /// As [`BorrowedThread::call`], but tells apart why the call itself has failed and why it could not be
    /// made.
    ///
    /// # Errors
    /// [`ProcessError::Gone`], and whatever leaves the thread in a state that is not known: no more calls can
    /// be made then.
    pub(crate) fn try_call(
        &mut self,
        what: &str,
        number: i64,
        args: [u64; 6],
    ) -> Result<io::Result<u64>, ProcessError> {
        let result = self.make_call(what, number, args);
        self.lost |= result.is_err();
        result
    }

    fn make_call(
        &mut self,
        what: &str,
        number: i64,
        args: [u64; 6],
    ) -> Result<io::Result<u64>, ProcessError> {
        self.still_known(what)?;
        // After the call the thread goes on by its return slot, which leads to the way back.
        let regs = self.parked().making_call(self.gadgets.syscall, self.frame, number, args);
        self.steps.next("set the registers for a system call")?;
        regs.write(self.tid).map_err(ProcessError::os(what))?;
        self.steps.next("begin a system call")?;
        self.run_to_syscall_stop(what)?;
        self.steps.next("make a system call")?;
        self.run_to_syscall_stop(what)?;
        let after = Registers::read(self.tid).map_err(ProcessError::os(what))?;
        self.steps.next("leave a system call")?;
        self.park()?;
        Ok(result_of(after.result().cast_unsigned()))
    }

    /// Lets the thread go on at `address` when what it runs for us returns.
    fn set_return(&self, address: u64) -> Result<(), ProcessError> {
        match borrow::return_slot(self.frame) {
            Some(slot) => self.memory.write(slot, &address.to_le_bytes()),
            None => Ok(()),
        }
    }

    fn still_known(&self, what: &str) -> Result<(), ProcessError> {
        if self.lost {
            return Err(ProcessError::unfit(format!("{what}: an earlier step went wrong")));
        }
        Ok(())
    }

    /// Calls a function. It returns to `landing`, the address of [`borrow::LANDING`] code, which makes the
    /// system call `rt_sigreturn`: there it is caught.
    ///
    /// # Errors
    /// When the function does not return properly. Its effects up to there stay.
    pub(crate) fn call_function(
        &mut self,
        function: u64,
        args: [u64; 3],
        landing: u64,
    ) -> Result<u64, ProcessError> {
        let result = self.make_function_call(function, args, landing);
        self.lost |= result.is_err();
        result
    }

    fn make_function_call(
        &mut self,
        function: u64,
        args: [u64; 3],
        landing: u64,
    ) -> Result<u64, ProcessError> {
        let what = "calling a function";
        self.still_known(what)?;
        self.set_return(landing)?;
        let regs = self.parked().calling(function, args, self.frame, landing);
        self.steps.next("set the registers for a function")?;
        regs.write(self.tid).map_err(ProcessError::os(what))?;
        self.steps.next("call a function")?;
        // The function may make system calls of its own: each is let through, for as long as it may take in
        // all.
        let started = Instant::now();
        let result = loop {
            if started.elapsed() > PATIENCE {
                return Err(ProcessError::unfit(format!("{what}: it does not come back")));
            }
            self.run_to_syscall_stop(what)?;
            let at = Registers::read(self.tid).map_err(ProcessError::os(what))?;
            if let Some(result) = at.landed(self.frame) {
                break result;
            }
        };
        self.steps.next("return from a function")?;
        // Cancels the system call: it is skipped where its number is -1.
        self.park()?;
        self.run_to_syscall_stop(what)?;
        self.park()?;
        // The landing code may be unmapped by what is called next, and nobody be left to say so.
        self.set_return(self.gadgets.sigreturn)?;
        frame::set_extended_state(self.tid, &self.extended).map_err(ProcessError::os(what))?;
        Ok(result)
    }

    fn run_to_syscall_stop(&mut self, what: &str) -> Result<(), ProcessError> {
        ptrace::syscall(self.tid, 0).map_err(ProcessError::os(what))?;
        self.await_report(what, Report::Syscall)
    }

    fn await_report(&mut self, what: &str, wanted: Report) -> Result<(), ProcessError> {
        let started = Instant::now();
        loop {
            let report = wait::wait(self.tid).map_err(ProcessError::os(what))?;
            match report {
                _ if report == wanted => return Ok(()),
                Report::Ended => return Err(ProcessError::Gone),
                Report::Nothing if started.elapsed() > PATIENCE => {
                    return Err(ProcessError::unfit(format!("{what}: it does not come back")));
                }
                Report::Nothing => continue,
                Report::Signal(fault @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE)) => {
                    // Of the code we run, not of the process: blocked, so it can only be synchronous.
                    self.park()?;
                    return Err(ProcessError::unfit(format!("{what}: signal {fault}")));
                }
                Report::Signal(signal) => self.kept.push(signal),
                Report::Interrupted | Report::Suspended | Report::Syscall | Report::Event(_) => {}
            }
            ptrace::syscall(self.tid, 0).map_err(ProcessError::os(what))?;
        }
    }

    /// Gives the thread its state back.
    ///
    /// # Errors
    /// When the thread has ended.
    pub(crate) fn end(mut self) -> Result<(), ProcessError> {
        self.restore()
    }

    fn restore(&mut self) -> Result<(), ProcessError> {
        self.restored = true;
        let what = "putting registers back";
        self.leave_stack();
        self.set_return(self.gadgets.sigreturn)?;
        self.killing_point("stop on the way back");
        if self.lost || !self.at_ease {
            // The kernel decides about restarting a system call only on the way out of a stop like the one we
            // came from.
            ptrace::interrupt(self.tid).map_err(ProcessError::os(what))?;
            // Fails when it runs, since a function did not come back.
            let _ = ptrace::cont(self.tid, 0);
            self.await_interrupt(what)?;
        }
        self.killing_point("restore the signal mask");
        ptrace::set_signal_mask(self.tid, self.mask).map_err(ProcessError::os(what))?;
        self.killing_point("restore the registers");
        self.original.write(self.tid).map_err(ProcessError::os(what))?;
        if let Some(ScratchStack { cave, .. }) = self.ours.take() {
            // Others look for it by its being empty.
            let _ = self.memory.write(cave.address, &vec![0; usize::try_from(cave.size).unwrap_or(0)]);
        }
        for signal in self.kept.drain(..) {
            let _ = wait::send(self.pid, self.tid, signal);
        }
        Ok(())
    }

    /// A step of giving the thread back. A test can kill us here; it cannot make the step fail, as nothing
    /// would undo that.
    fn killing_point(&self, what: &str) {
        let _ = self.steps.next(what);
    }

    fn await_interrupt(&mut self, what: &str) -> Result<(), ProcessError> {
        let started = Instant::now();
        loop {
            match wait::wait(self.tid).map_err(ProcessError::os(what))? {
                Report::Interrupted | Report::Suspended => return Ok(()),
                Report::Ended => return Err(ProcessError::Gone),
                Report::Nothing if started.elapsed() > PATIENCE => {
                    return Err(ProcessError::unfit(format!("{what}: it does not stop")));
                }
                Report::Nothing => {}
                Report::Signal(signal) => {
                    self.kept.push(signal);
                    ptrace::cont_to_interrupt(self.tid, 0).map_err(ProcessError::os(what))?;
                }
                Report::Syscall | Report::Event(_) => {
                    ptrace::cont_to_interrupt(self.tid, 0).map_err(ProcessError::os(what))?;
                }
            }
        }
    }
}

impl Drop for BorrowedThread<'_> {
    fn drop(&mut self) {
        if !self.restored {
            // The thread has the frame to return by, should this fail.
            let _ = self.restore();
        }
    }
}
