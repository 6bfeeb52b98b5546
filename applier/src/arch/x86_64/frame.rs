//! A signal frame as the kernel writes it (arch/x86/include/uapi/asm/sigcontext.h, ucontext.h):
//! `rt_sigreturn` on it puts a thread back exactly where it was.

use super::{RED_ZONE, registers::Registers, xsave};
use crate::sys::ptrace;
use std::io;

/// A frame and where it goes.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Address of the return address slot that precedes the `ucontext`.
    pub start: u64,
    /// The bytes from `start` on.
    pub bytes: Vec<u8>,
}

/// `NT_X86_XSTATE`: the set of registers that is the extended state.
const NT_X86_XSTATE: usize = 0x202;
/// Largest extended state that is read, in bytes.
const LARGEST: usize = 16 * 1024;
/// Return address, `ucontext` and `siginfo`.
const HEAD: u64 = 8 + 304 + 128;
const FP_XSTATE: u64 = 1;
const SIGCONTEXT_SS: u64 = 2;
const STRICT_RESTORE_SS: u64 = 4;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;
/// Not a value of `ss_flags`: makes `rt_sigreturn` leave the alternate signal stack alone (the kernel ignores
/// the error).
const KEEP_STACK: u64 = 0x7fff_0000;
/// Where the kernel's and our information about the extended state is in its legacy part.
const SOFTWARE: usize = 464;
/// Size of that part.
const LEGACY: usize = 512;
/// AMX tile data, which the kernel leaves out of the signal frames of threads that never asked for it.
const TILES: u64 = 1 << 18;

/// Reads the extended state of a thread (x87, SSE, AVX …) in the non-compacted XSAVE layout.
pub(crate) fn extended_state(tid: i32) -> io::Result<Vec<u8>> {
    ptrace::register_set(tid, NT_X86_XSTATE, LARGEST)
}

/// Sets the extended state to what [`extended_state`] gave.
pub(crate) fn set_extended_state(tid: i32, state: &[u8]) -> io::Result<()> {
    ptrace::set_register_set(tid, NT_X86_XSTATE, state)
}

/// Builds the frame for a thread with these registers, blocked signals and extended state, below its stack
/// pointer.
pub(crate) fn build(regs: &Registers, mask: u64, extended: &[u8], sigreturn: u64) -> Frame {
    place(regs, mask, extended, sigreturn, regs.sp().wrapping_sub(RED_ZONE))
}

/// As [`build`], but below the address `top`.
pub(crate) fn place(regs: &Registers, mask: u64, extended: &[u8], sigreturn: u64, top: u64) -> Frame {
    laid_out(regs, mask, &signal_state(extended), FP_XSTATE, sigreturn, top)
}

/// A small one, for a thread that is in a system call: what it has beyond the registers of SSE is nobody's
/// any more (psABI §3.2.1).
pub(crate) fn small(regs: &Registers, mask: u64, extended: &[u8], sigreturn: u64, top: u64) -> Frame {
    let mut state = extended[..extended.len().min(LEGACY)].to_vec();
    if let Some(software) = state.get_mut(SOFTWARE..) {
        software.fill(0);
    }
    laid_out(regs, mask, &state, 0, sigreturn, top)
}

fn laid_out(regs: &Registers, mask: u64, state: &[u8], kind: u64, sigreturn: u64, top: u64) -> Frame {
    let state_at = (top - (state.len() as u64)) & !63;
    let start = ((state_at - HEAD) & !15) - 8;
    let r = regs.restarted().0;
    let mut bytes = Vec::with_capacity(usize::try_from(top - start).unwrap_or(0));
    let segments = r.cs & 0xffff | (r.ss & 0xffff) << 48;
    let words: [&[u64]; 6] = [
        &[sigreturn, kind | SIGCONTEXT_SS | STRICT_RESTORE_SS, 0, 0, KEEP_STACK, 0],
        &[r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15],
        &[r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.eflags],
        &[segments, 0, 0, 0, 0, state_at],
        &[0; 8],
        &[mask],
    ];
    for word in words.concat() {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.resize(usize::try_from(state_at - start).unwrap_or(0), 0);
    bytes.extend_from_slice(state);
    Frame { start, bytes }
}

/// The extended state in the form a signal frame has it: with the sizes filled in, and a magic number at the
/// end.
fn signal_state(extended: &[u8]) -> Vec<u8> {
    let word =
        |at: usize| extended.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (supported, in_use) = (word(SOFTWARE), word(512));
    let features = if in_use & TILES == 0 { supported & !TILES } else { supported };
    let size = xsave::size(features).min(extended.len());
    let mut state = extended[..size].to_vec();
    let as_u32 = |n: usize| u32::try_from(n).unwrap_or(0).to_le_bytes();
    if let Some(software) = state.get_mut(SOFTWARE..512) {
        software.fill(0);
        software[..4].copy_from_slice(&MAGIC1.to_le_bytes());
        software[4..8].copy_from_slice(&as_u32(size + 4));
        software[8..16].copy_from_slice(&features.to_le_bytes());
        software[16..20].copy_from_slice(&as_u32(size));
    }
    state.extend_from_slice(&MAGIC2.to_le_bytes());
    state
}
