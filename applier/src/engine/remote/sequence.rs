//! Restartable sequences (rseq(2), include/uapi/linux/rseq.h): code that a thread must start anew when it was
//! interrupted in it.
//!
//! The kernel sees to that on a thread's way back to user mode, by where the thread is *then*. A thread that
//! was borrowed is elsewhere by then, so the kernel takes the sequence for over; back in the middle of it,
//! the thread would go on to its end as if nothing had happened, on another processor perhaps. So a borrowed
//! thread goes back to where the kernel would have sent it.

use crate::{arch::Registers, engine::target::memory::Memory, sys::ptrace};

/// Where a thread's `struct rseq` has the address of the `struct rseq_cs` that it is in.
const CURRENT: u64 = 8;

/// Where a stopped thread with these registers has to go on.
pub(super) fn way_on(tid: i32, registers: &Registers, memory: &Memory) -> u64 {
    abort(tid, registers.pc(), memory).unwrap_or(registers.pc())
}

fn abort(tid: i32, pc: u64, memory: &Memory) -> Option<u64> {
    let (area, signature) = ptrace::restartable(tid).ok()??;
    let current = memory.word(area.wrapping_add(CURRENT)).ok().filter(|c| *c != 0)?;
    // Version and flags, the first address, the length in bytes, where to go instead.
    let start = memory.word(current.wrapping_add(8)).ok()?;
    let length = memory.word(current.wrapping_add(16)).ok()?;
    let abort = memory.word(current.wrapping_add(24)).ok()?;
    let inside = pc.wrapping_sub(start) < length;
    // What the kernel wants to see before that address; otherwise it kills, for which we should not be the
    // occasion.
    let marked = memory.read(abort.wrapping_sub(4), 4).ok()? == signature.to_le_bytes();
    (inside && marked).then_some(abort)
}
