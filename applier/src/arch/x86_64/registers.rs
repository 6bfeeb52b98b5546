//! The general registers of a stopped thread.

use super::unwind::COUNT;
use crate::sys::ptrace;
use std::io;

/// General registers of a stopped thread (`struct user_regs_struct`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers(pub(super) libc::user_regs_struct);

/// Length in bytes of the instruction that makes a system call.
const SYSCALL: u64 = 2;
/// What `orig_rax` is where no system call is under way: the kernel then restarts none.
pub(super) const NO_CALL: u64 = u64::MAX;

impl Registers {
    /// Reads those of a stopped thread.
    pub(crate) fn read(tid: i32) -> io::Result<Self> {
        ptrace::registers(tid).map(Self)
    }

    /// Sets them, all in one.
    pub(crate) fn write(&self, tid: i32) -> io::Result<()> {
        ptrace::set_registers(tid, &self.0)
    }

    /// Program counter. Behind the system call, where the thread is in one.
    pub(crate) fn pc(&self) -> u64 {
        self.0.rip
    }

    /// Stack pointer.
    pub(crate) fn sp(&self) -> u64 {
        self.0.rsp
    }

    /// Thread pointer.
    pub(crate) fn thread_pointer(&self) -> u64 {
        self.0.fs_base
    }

    /// These registers with another program counter.
    pub(crate) fn with_pc(mut self, pc: u64) -> Self {
        self.0.rip = pc;
        self
    }

    /// Number of the system call that the thread is in; also at the stops before and after it.
    pub(crate) fn call(&self) -> Option<i64> {
        Some(self.0.orig_rax.cast_signed()).filter(|call| *call >= 0)
    }

    /// Argument `index`, from 0 to 5, of the system call.
    pub(crate) fn argument(&self, index: usize) -> u64 {
        let r = &self.0;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9].get(index).copied().unwrap_or(0)
    }

    /// Sets argument `index`, from 0 to 5.
    pub(crate) fn set_argument(&mut self, index: usize, value: u64) {
        let r = &mut self.0;
        let all = [&mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9];
        if let Some(argument) = all.into_iter().nth(index) {
            *argument = value;
        }
    }

    /// What the system call has returned: a negative number is an error.
    pub(crate) fn result(&self) -> i64 {
        self.0.rax.cast_signed()
    }

    /// These registers as they are outside of any system call: the kernel will restart none.
    pub(crate) fn outside_call(mut self) -> Self {
        self.0.orig_rax = NO_CALL;
        self
    }

    /// Lets the thread make its system call again, which has given up.
    pub(crate) fn call_again(&mut self) {
        self.0.rax = self.0.orig_rax;
        self.0.orig_rax = NO_CALL;
        self.0.rip = self.0.rip.wrapping_sub(SYSCALL);
    }

    /// The system call that the thread is in, or that it would be about to make again after
    /// [`Self::call_again`], and the address behind it.
    pub(crate) fn call_at_hand(&self) -> Option<(i64, u64)> {
        match self.call() {
            Some(call) => Some((call, self.pc())),
            None => Some((self.result(), self.pc().wrapping_add(SYSCALL))),
        }
    }

    /// As after the kernel has decided about restarting the system call that was interrupted, when there is
    /// no signal to deliver (arch/x86/kernel/signal.c, `arch_do_signal_or_restart`).
    pub(super) fn restarted(mut self) -> Self {
        // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK
        if self.call().is_some() && matches!(self.result(), -512 | -513 | -514 | -516) {
            self.call_again();
        }
        self
    }

    /// By their numbers in DWARF (psABI figure 3.36); the last is the return address column.
    pub(crate) fn values(&self) -> [u64; COUNT] {
        let r = &self.0;
        [
            r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13,
            r.r14, r.r15, r.rip,
        ]
    }
}

/// Does the code `before` the program counter end with a system call?
pub(super) fn is_syscall(code: &[u8]) -> bool {
    code.starts_with(&[0x0f, 0x05])
}

/// Where a system call lies that a thread at `pc` has made.
pub(super) fn syscall_before(pc: u64) -> u64 {
    pc.wrapping_sub(SYSCALL)
}
