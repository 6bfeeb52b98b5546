//! The stack that a thread was made with: what of it is the thread's to use.
//!
//! Memory around a stack pointer says little. A program may have a thread's stack among its data, in an array
//! or in the heap, a coroutine's stack beside others, a handler's in a local variable. What lies below such a
//! stack is somebody's. So the bounds come from what the thread itself has: the kernel has made the first
//! thread's, and a C library notes in each thread what it has got.

use super::{
    frames::Tables,
    maps,
    process::Process,
    threads::Thread,
    unwind::{self, Frame, Stack, Unsure},
};
use crate::arch::thread::{DESCRIPTION, description, stack_bounds};
use std::ops::Range;

/// Bytes of a stack that are read ahead.
pub(crate) const AHEAD: u64 = 2048;

/// Where the stack is that the thread was made with, without its guard, if its stack pointer is in there;
/// `None` on any other stack, and where nobody has noted it.
pub(crate) fn own(process: &Process, thread: &Thread) -> Option<Range<u64>> {
    let sp = thread.registers.sp();
    noted(process, thread).or_else(|| {
        let mapping = maps::at(&process.maps, sp).filter(|_| thread.tid == process.pid)?;
        (mapping.name == "[stack]").then_some(mapping.start..mapping.end)
    })
}

/// As the C library has noted it.
fn noted(process: &Process, thread: &Thread) -> Option<Range<u64>> {
    let (sp, pointer) = (thread.registers.sp(), thread.registers.thread_pointer());
    let start = description(pointer);
    let mapping = maps::at(&process.maps, start).filter(|m| m.write)?;
    let len = usize::try_from(DESCRIPTION.min(mapping.end - start)).ok()?;
    let words = process.memory.read(start, len).ok()?;
    let words: Vec<u64> =
        words.chunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_le_bytes)).collect();
    stack_bounds(&words, pointer, sp)
}

/// All frames of a thread. Unwind tables that are not there yet are read where the stack leads into their
/// module.
pub(crate) fn walk(
    process: &Process,
    tables: &mut Tables,
    thread: &Thread,
    stack: &Stack<'_>,
    seen: &mut Vec<Frame>,
) -> Result<(), Unsure> {
    loop {
        seen.clear();
        let unsure = match unwind::walk(tables, &thread.registers, stack, seen) {
            Err(unsure) if !tables.covers(unsure.pc) => unsure,
            Err(unsure) if begins_context(process, unsure.pc, seen) => return Ok(()),
            known => return known,
        };
        let Some(module) = process.modules.iter().find(|m| (m.start..m.end).contains(&unsure.pc)) else {
            return Err(unsure);
        };
        tables.add_module(module, &process.memory, process.view, &process.maps);
        if !tables.covers(unsure.pc) {
            return Err(unsure);
        }
    }
}

/// Does a stack begin here that `makecontext` has made? Its first function returns to the one code of glibc
/// that others return to and that has no unwind information (`__start_context`).
fn begins_context(process: &Process, pc: u64, frames: &[Frame]) -> bool {
    let module = process.modules.iter().find(|m| (m.start..m.end).contains(&pc));
    let glibc = module.is_some_and(|m| m.name().starts_with("libc.so.6") || m.name().starts_with("libc-2."));
    glibc && frames.len() > 1 && frames.last().is_some_and(|f| !f.exact)
}

/// How many bytes below its stack pointer are the thread's to use. 0 where that is not known.
pub(crate) fn room(process: &Process, tables: &mut Tables, thread: &Thread) -> u64 {
    let sp = thread.registers.sp();
    let Some(mapping) = maps::at(&process.maps, sp.wrapping_sub(1)).filter(|m| m.write) else { return 0 };
    let from = |start: u64| sp.saturating_sub(start.max(mapping.start));
    let own = own(process, thread);
    if process.begins() {
        return own.map_or(0, |own| from(own.start));
    }
    // Most stacks need no more than that, and it is one call of the kernel then.
    let mut bytes = vec![0; usize::try_from((mapping.end - sp).min(AHEAD)).unwrap_or(0)];
    if process.memory.read_into(sp, &mut bytes).is_err() {
        bytes.clear();
    }
    let stack = Stack { start: sp, bytes: &bytes, memory: &process.memory };
    let mut frames = Vec::new();
    let stuck = walk(process, tables, thread, &stack, &mut frames).is_err();
    match own.filter(|own| is_innermost(process, thread, own, &frames, stuck)) {
        Some(own) => from(own.start),
        None => handlers(process, thread, &frames).map_or(0, from),
    }
}

/// Has the thread no frame below its stack pointer? A handler's stack, or a coroutine's, may be a variable of
/// a function that has called others. Frames that cannot be followed count for nothing here: code without
/// unwind information is no sign of another stack.
fn is_innermost(process: &Process, thread: &Thread, own: &Range<u64>, frames: &[Frame], stuck: bool) -> bool {
    if frames.windows(2).any(|pair| pair[1].sp < pair[0].sp) {
        return false;
    }
    if stuck {
        return true;
    }
    // The first thread's frames begin where its program does.
    let begins = |pc: u64| process.modules.iter().any(|m| pc >= m.entry && pc - m.entry < 64);
    let kernels = maps::at(&process.maps, own.start).is_some_and(|m| m.name == "[stack]");
    !kernels || thread.tid != process.pid || frames.last().is_some_and(|last| begins(last.pc))
}

/// Where the alternate stack begins on which the thread handles a signal: the kernel says so in the frame
/// that it has left there (`struct rt_sigframe`; a handler's return finds the `ucontext` on top of the
/// stack).
fn handlers(process: &Process, thread: &Thread, frames: &[Frame]) -> Option<u64> {
    let interrupted = frames.iter().skip(1).position(|f| f.exact)?;
    let context = frames.get(interrupted)?.sp;
    let word = |offset: u64| process.memory.word(context.checked_add(offset)?).ok();
    let (start, flags, size) = (word(16)?, word(24)?, word(32)?);
    let end = start.checked_add(size)?;
    let inside = |sp: u64| start <= sp && sp < end;
    let on = flags as u32 & libc::SS_DISABLE.cast_unsigned() == 0;
    (on && inside(thread.registers.sp()) && frames[..=interrupted].iter().all(|f| inside(f.sp)))
        .then_some(start)
}
