//! Registers for a thread that runs something for us. At each point at which we could die, what the thread
//! does next by itself leads to `rt_sigreturn` on a signal frame (see [`super::frame`]).

use super::registers::{NO_CALL, Registers};

/// Code that moves a function's result to where it survives and makes the system call `rt_sigreturn`:
/// `mov %rax,%rdi; mov $15,%eax; syscall; int3`.
pub(crate) const LANDING: &[u8] = b"\x48\x89\xc7\xb8\x0f\0\0\0\x0f\x05\xcc";

/// Flags that must be clear wherever a function begins: direction (psABI §3.2.1), and single-stepping.
const FLAGS: u64 = 0x500;

/// Where in memory the address must be at which the thread goes on after a borrowed `syscall; ret`, or after
/// a function: the word on top of its stack, with which the frame at `frame` begins. `None` on machines that
/// have it in a register.
pub(crate) fn return_slot(frame: u64) -> Option<u64> {
    Some(frame)
}

/// Arguments of an IFUNC resolver: none (psABI, "STT_GNU_IFUNC").
pub(crate) const RESOLVER_ARGUMENTS: [u64; 3] = [0; 3];

impl Registers {
    /// From which the thread by itself returns to where it was: by the code `sigreturn`, with the frame at
    /// `frame`.
    pub(crate) fn returning(mut self, sigreturn: u64, frame: u64) -> Self {
        self.0.rip = sigreturn;
        self.0.rsp = frame + 8;
        self.0.orig_rax = NO_CALL;
        self.0.rax = 0;
        self.0.eflags &= !FLAGS;
        self
    }

    /// Of a thread that was [`Self::returning`], to make a system call by the code `syscall`.
    pub(crate) fn making_call(mut self, syscall: u64, frame: u64, number: i64, args: [u64; 6]) -> Self {
        self.0.rip = syscall;
        self.0.rsp = frame;
        self.0.rax = number.cast_unsigned();
        (0..).zip(args).for_each(|(index, value)| self.set_argument(index, value));
        self
    }

    /// Of a thread that was [`Self::returning`], to call a function that returns to the [`LANDING`] code.
    /// That it does so is in its [`return_slot`].
    pub(crate) fn calling(mut self, function: u64, args: [u64; 3], frame: u64, _landing: u64) -> Self {
        self.0.rip = function;
        self.0.rsp = frame;
        self.0.rax = 0;
        (0..).zip(args).for_each(|(index, value)| self.set_argument(index, value));
        self
    }

    /// The function's result, at a stop before a system call: if that is the one of the [`LANDING`] code.
    pub(crate) fn landed(&self, frame: u64) -> Option<u64> {
        (self.call() == Some(libc::SYS_rt_sigreturn) && self.0.rsp == frame + 8).then_some(self.0.rdi)
    }
}
