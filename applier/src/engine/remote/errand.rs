//! Several system calls in one go, made by the one thread of a program that has not begun yet.
//!
//! The thread stands in a call of an empty function ([`crate::start`]): its registers are those that any function may change, and a
//! return is its way home. So no more is needed than a function that makes the calls and returns. It is written to where nothing is: behind
//! the end of a code segment, in the rest of its last page ([`Room`]). When all is done, or a call has failed, it sends its own thread
//! `SIGURG`, for whoever traces it. Were the tracer gone, that would be ignored, and the function returns.

use super::result_of;
use crate::{
    ProcessError,
    engine::target::{memory::Memory, process::Process, room::Room, steps::Steps},
    sys::{
        ptrace::{self, Registers},
        wait::{self, Report},
    },
};
use std::{
    io,
    time::{Duration, Instant},
};

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Its number.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Which of them is what the first call of an errand has given, whatever stands there.
    first: Option<usize>,
}

impl Call {
    pub(crate) fn new(number: i64, args: [u64; 6]) -> Self {
        Self { number, args, first: None }
    }

    /// With the result of the first call of the same errand for argument `index`.
    pub(crate) fn of_first(self, index: usize) -> Self {
        Self { first: Some(index), ..self }
    }

    /// The result as Rust has it. An `mmap` that maps elsewhere than where it should counts as failed with `EEXIST`: kernels before 4.17
    /// do not know `MAP_FIXED_NOREPLACE` and take the address for a hint.
    pub(crate) fn result(&self, rax: u64) -> io::Result<u64> {
        let result = result_of(rax)?;
        if self.number == libc::SYS_mmap && result != self.args[0] {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        Ok(result)
    }
}

/// What the whole may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that can be sent. It stays stopped where it was.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    pid: i32,
    tid: i32,
    /// What the thread calls itself.
    own_id: i32,
    memory: &'a Memory,
    steps: &'a Steps,
    room: Room,
    home: Registers,
    /// Signals that came meanwhile, sent again at the end.
    kept: Vec<i32>,
}

impl<'a> Errand<'a> {
    /// With the thread that is held. `None` where it is not at such a place, or there is no room.
    pub(crate) fn begin(process: &'a Process, steps: &'a Steps) -> Result<Option<Self>, ProcessError> {
        let Some((tid, room)) = process.held.and_then(|h| Some((h.tid, h.room?))) else { return Ok(None) };
        let what = "cannot read registers";
        let home = Registers {
            // No system call is to be made again.
            orig_rax: u64::MAX,
            ..ptrace::registers(tid).map_err(ProcessError::os(what))?
        };
        // It is the only thread of its process, so the process's status is its own.
        let own_id = process.status.own_id_of(tid);
        let (pid, memory) = (process.pid, &process.memory);
        Ok(Some(Self { pid, tid, own_id, memory, steps, room, home, kept: Vec::new() }))
    }

    /// Where the data of [`Errand::run`] are.
    pub(crate) fn data(&self) -> u64 {
        self.room.address
    }

    /// Makes the calls one after the other, up to the first that fails. Gives the result of each that was made.
    ///
    /// # Errors
    /// When the thread does not come back, or there is not room enough; not for what a call fails with.
    pub(crate) fn run(
        &mut self,
        what: &str,
        data: &[u8],
        calls: &[Call],
    ) -> Result<Vec<io::Result<u64>>, ProcessError> {
        let start = data.len().next_multiple_of(16);
        let mut bytes = data.to_vec();
        bytes.resize(start, 0);
        let mark = write_code(&mut bytes, self.own_id, self.home.rsp, calls);
        if bytes.len() as u64 > self.room.size {
            return Err(ProcessError::unfit(format!("{what}: no room for so many system calls")));
        }
        self.steps.next("write system calls")?;
        self.memory.write(self.room.address, &bytes)?;
        let regs = Registers { rip: self.room.address + start as u64, ..self.home };
        self.steps.next("set the registers for system calls")?;
        ptrace::set_registers(self.tid, &regs).map_err(ProcessError::os(what))?;
        self.steps.next("make system calls")?;
        let at = self.await_mark(what, self.room.address + mark as u64);
        if let Ok(at) = &at
            && let Some(len) = self.home.rsp.checked_sub(at.rsp)
        {
            self.steps.next("read what system calls gave")?;
            let stack = self.memory.read(at.rsp, usize::try_from(len).unwrap_or(0))?;
            let words = stack.rchunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_le_bytes));
            let results = words.zip(calls).map(|(rax, call)| call.result(rax)).collect();
            ptrace::set_registers(self.tid, &self.home).map_err(ProcessError::os(what))?;
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
                    let at = ptrace::registers(self.tid).map_err(ProcessError::os(what))?;
                    if signal == libc::SIGURG && at.rip == mark {
                        return Ok(at);
                    }
                    // Sent for a file that is larger than the process may make one (RLIMIT_FSIZE): that is about our calls.
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

impl Drop for Errand<'_> {
    fn drop(&mut self) {
        for signal in self.kept.drain(..) {
            // Fails only for a process that has ended.
            let _ = wait::send(self.pid, self.tid, signal);
        }
    }
}

/// `mov $value,register` in its shortest form (Intel SDM volume 2).
fn set(code: &mut Vec<u8>, register: Register, value: u64) {
    let (extended, low) = (register as u8 >> 3, register as u8 & 7);
    match u32::try_from(value) {
        Ok(value) => {
            code.extend((extended == 1).then_some(0x41));
            code.push(0xb8 | low);
            code.extend(value.to_le_bytes());
        }
        Err(_) => {
            code.extend([0x48 | extended, 0xb8 | low]);
            code.extend(value.to_le_bytes());
        }
    }
}

/// `mov 8*words(%rsp),register`.
fn load(code: &mut Vec<u8>, register: Register, words: usize) {
    let (extended, low) = (register as u8 >> 3, register as u8 & 7);
    code.extend([0x48 | extended << 2, 0x8b, 0x84 | low << 3, 0x24]);
    code.extend((8 * words as u32).to_le_bytes());
}

/// Numbers of the registers used.
#[derive(Clone, Copy)]
enum Register {
    Rax = 0,
    Rdx = 2,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
}

/// Those of a system call's arguments (psABI appendix A.2.1).
const ARGUMENTS: [Register; 6] =
    [Register::Rdi, Register::Rsi, Register::Rdx, Register::R10, Register::R8, Register::R9];

/// A system call by which a thread that calls itself `tid` sends itself `SIGURG`: `mov $tid,%edi; push $SIGURG; pop %rsi; mov $SYS_tkill,%eax; syscall`.
pub(crate) fn write_mark(code: &mut Vec<u8>, tid: i32) {
    set(code, Register::Rdi, u64::from(tid.cast_unsigned()));
    code.extend([0x6a, libc::SIGURG as u8, 0x5e]);
    set(code, Register::Rax, libc::SYS_tkill.cast_unsigned());
    code.extend([0x0f, 0x05]);
}

/// Appends the function. Each result is pushed, so that the stack pointer tells how many calls were made. Gives the offset at which the
/// thread is when it has sent itself the signal.
fn write_code(code: &mut Vec<u8>, tid: i32, home: u64, calls: &[Call]) -> usize {
    let mut ends = Vec::new();
    for (made, call) in calls.iter().enumerate() {
        for (index, (register, value)) in ARGUMENTS.into_iter().zip(call.args).enumerate() {
            if call.first == Some(index) && made > 0 {
                load(code, register, made - 1);
            } else {
                set(code, register, value);
            }
        }
        set(code, Register::Rax, call.number.cast_unsigned());
        // syscall; push %rax
        code.extend([0x0f, 0x05, 0x50]);
        if call.number == libc::SYS_mmap {
            // cmp %rdi,%rax; jne
            code.extend([0x48, 0x39, 0xf8, 0x0f, 0x85]);
        } else {
            // cmp $-4095,%rax; jae
            code.extend([0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x0f, 0x83]);
        }
        ends.push(code.len());
        code.extend([0; 4]);
    }
    let end = code.len();
    for at in ends {
        let distance = u32::try_from(end - at - 4).unwrap_or(0);
        code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }
    write_mark(code, tid);
    let mark = code.len();
    set(code, Register::Rax, home);
    // mov %rax,%rsp; ret
    code.extend([0x48, 0x89, 0xc4, 0xc3]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortest_moves() {
        let of = |register, value| {
            let mut code = Vec::new();
            set(&mut code, register, value);
            code
        };
        assert_eq!(of(Register::Rdi, 7), [0xbf, 7, 0, 0, 0]);
        assert_eq!(of(Register::R10, 0x32), [0x41, 0xba, 0x32, 0, 0, 0]);
        assert_eq!(of(Register::R8, u64::MAX), [[0x49, 0xb8].as_slice(), &[0xff; 8]].concat());
        assert_eq!(of(Register::Rsi, 1 << 32), [0x48, 0xbe, 0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn results_lie_on_the_stack() {
        let of = |register, words| {
            let mut code = Vec::new();
            load(&mut code, register, words);
            code
        };
        // As the GNU assembler has `mov 0x28(%rsp),%rdi` and `mov 0x10(%rsp),%r8` with displacements of four bytes.
        assert_eq!(of(Register::Rdi, 5), [0x48, 0x8b, 0xbc, 0x24, 0x28, 0, 0, 0]);
        assert_eq!(of(Register::R8, 2), [0x4c, 0x8b, 0x84, 0x24, 0x10, 0, 0, 0]);
    }

    #[test]
    fn a_mapping_elsewhere_has_failed() {
        let call = |number| Call::new(number, [0x1000, 0, 0, 0, 0, 0]);
        let failed = |number, rax: i64| call(number).result(rax.cast_unsigned()).err()?.raw_os_error();
        assert_eq!(failed(libc::SYS_mmap, 0x1000), None);
        assert_eq!(failed(libc::SYS_mmap, 0x2000), Some(libc::EEXIST));
        assert_eq!(failed(libc::SYS_mmap, -12), Some(libc::ENOMEM));
        assert_eq!(failed(libc::SYS_close, 0), None);
    }
}
