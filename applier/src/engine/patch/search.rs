//! Stacks that cannot be unwound: code without unwind information (`-fno-asynchronous-unwind-tables`),
//! hand-written assembly, code that a program has made while it runs.
//!
//! A function that has called another one has left a return address in memory, at the stack pointer, or in a
//! register, which the called function saves there before it makes a call itself. It stays there while the
//! call lasts, unless code takes it off the stack for a moment and has it in a register (glibc's `vfork`). So
//! a thread does not return to some code if neither a word between its stack pointer and the end of its own
//! stack nor a register is an address in that code. The reverse does not hold: what lies there may be old.
//! Then the thread counts as busy, and is looked at again.
//!
//! This rule holds on the stack that the thread was made with, and for a stack pointer that is aligned as
//! calls leave it. On any other stack, a handler's or a coroutine's, nobody knows where the rest of the
//! frames is.

use super::quiesce::Zone;
use crate::{
    arch::{
        Registers,
        unwind::{SP, code_address},
    },
    engine::target::{maps, process::Process, threads::Thread, unwind::Frame},
};

/// Bytes of a stack searched at most.
const DEEPEST: u64 = 1 << 20;

/// What was found.
pub(super) enum StackSearch<'a> {
    /// No address in any of the zones.
    Nothing,
    /// One in this.
    In(&'a Zone),
    /// The stack cannot be searched.
    Unknown,
}

/// Searches the thread's own stack and its registers.
pub(super) fn own_stack<'a>(process: &Process, thread: &Thread, zones: &'a [Zone]) -> StackSearch<'a> {
    let regs = &thread.registers;
    match end_of_own_stack(process, thread) {
        Some(end) if regs.sp().is_multiple_of(8) => words(process, regs, end, zones),
        _ => StackSearch::Unknown,
    }
}

/// Searches the memory that the stack pointer is in, whatever it is.
pub(super) fn any_stack<'a>(process: &Process, thread: &Thread, zones: &'a [Zone]) -> StackSearch<'a> {
    match maps::at(&process.maps, thread.registers.sp()) {
        Some(mapping) => words(process, &thread.registers, mapping.end, zones),
        None => StackSearch::Unknown,
    }
}

/// The first thread of a program has the stack that the kernel made. (Its thread pointer may lead to memory
/// that a coroutine's stack has come to lie beside.) The others have theirs below what the thread pointer
/// leads to, in the same memory: glibc and musl put both there, also when a program brings the memory. What
/// else lies between the two is searched too.
fn end_of_own_stack(process: &Process, thread: &Thread) -> Option<u64> {
    let regs = &thread.registers;
    let mapping = maps::at(&process.maps, regs.sp())?;
    if thread.tid == process.pid {
        return (mapping.name == "[stack]").then_some(mapping.end);
    }
    (mapping.contains(regs.thread_pointer()) && regs.sp() < regs.thread_pointer())
        .then_some(regs.thread_pointer())
}

fn words<'a>(process: &Process, regs: &Registers, end: u64, zones: &'a [Zone]) -> StackSearch<'a> {
    let start = regs.sp() & !7;
    let len = end.saturating_sub(start);
    let read = || process.memory.read(start, usize::try_from(len).ok()?).ok();
    let Some(bytes) = (len <= DEEPEST).then(read).flatten() else { return StackSearch::Unknown };
    // The stack pointer is no address of code, whatever it is.
    let registers = regs.values().into_iter().enumerate().filter(|(n, _)| *n != SP).map(|(_, value)| value);
    let on_stack = bytes.chunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_le_bytes));
    let mut all = on_stack.chain(registers).map(code_address);
    let holds = |word: u64| {
        zones.iter().find(|z| [true, false].iter().any(|&exact| z.holds(Frame { pc: word, exact, sp: 0 })))
    };
    all.find_map(holds).map_or(StackSearch::Nothing, StackSearch::In)
}
