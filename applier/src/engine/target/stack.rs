//! The stack that a thread was made with: what of it is the thread's to use.
//!
//! Memory around a stack pointer says little. A program may have a thread's stack among its data, in an array or in the heap, a coroutine's stack
//! beside others, a handler's in a local variable. What lies below such a stack is somebody's. So the bounds come from what the thread itself has: the
//! kernel has made the first thread's, and a C library notes in each thread what it has got.

use super::{
    frames::Tables,
    maps,
    process::Process,
    threads::Thread,
    unwind::{self, Frame, Stack, Unsure},
};
use std::ops::Range;

/// Bytes of what a C library keeps about a thread, at its thread pointer; glibc has 2304, musl 200.
const DESCRIPTION: u64 = 2304;
/// The end of a stack is at most this far behind the thread pointer: the description, aligned as strictly as the program's TLS wants it.
const BEHIND: u64 = 8192;
/// No stack is larger.
const LARGEST: u64 = 1 << 40;

/// Where the stack is that the thread was made with, without its guard, if its stack pointer is in there; `None` on any other stack, and
/// where nobody has noted it.
pub(crate) fn own(process: &Process, thread: &Thread) -> Option<Range<u64>> {
    let sp = thread.registers.rsp;
    noted(process, thread).or_else(|| {
        let mapping = maps::at(&process.maps, sp).filter(|_| thread.tid == process.pid)?;
        (mapping.name == "[stack]").then_some(mapping.start..mapping.end)
    })
}

/// As the C library has noted it.
fn noted(process: &Process, thread: &Thread) -> Option<Range<u64>> {
    let (sp, pointer) = (thread.registers.rsp, thread.registers.fs_base);
    let mapping = maps::at(&process.maps, pointer).filter(|m| m.write)?;
    let len = usize::try_from(DESCRIPTION.min(mapping.end - pointer)).ok()?;
    let words = process.memory.read(pointer, len).ok()?;
    let words: Vec<u64> =
        words.chunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_le_bytes)).collect();
    // Both begin with their own address; glibc has it once more, where musl has its list of threads.
    match words[..] {
        [first, _, third, ..] if first == pointer && third == pointer => noted_by_glibc(&words, pointer, sp),
        [first, ..] if first == pointer => musl(&words, pointer, sp),
        _ => None,
    }
}

/// `stackblock`, `stackblock_size` and `guardsize` of `struct pthread` (nptl/descr.h). Where they are differs from version to version; the block
/// holds the structure itself, at its end.
pub(crate) fn noted_by_glibc(words: &[u64], pointer: u64, sp: u64) -> Option<Range<u64>> {
    let starts = words.windows(3).filter_map(|w| {
        let [block, size, guard] = *w else { return None };
        let end = block.checked_add(size).filter(|end| pointer < *end && end - pointer <= BEHIND)?;
        let start = block.checked_add(guard)?;
        (size < LARGEST && start <= sp && sp < pointer && pointer < end).then_some(start)
    });
    // Other words may look like it: the smallest is certainly the thread's.
    starts.max().map(|start| start..pointer)
}

/// `map_base`, `map_size`, `stack` (its upper end), `stack_size` and `guard_size` of `struct pthread` (src/internal/pthread_impl.h).
fn musl(words: &[u64], pointer: u64, sp: u64) -> Option<Range<u64>> {
    words.windows(5).find_map(|w| {
        let [map, map_size, top, size, guard] = *w else { return None };
        let start = top.checked_sub(size)?;
        let mapped = map == 0 || (map <= pointer && pointer < map.checked_add(map_size)? && map <= start);
        let start = if map == 0 { start } else { start.max(map.checked_add(guard)?) };
        (mapped && start <= sp && sp < top && size < LARGEST && guard < LARGEST).then_some(start..top)
    })
}

/// All frames of a thread. Unwind tables that are not there yet are read where the stack leads into their module.
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

/// Does a stack begin here that `makecontext` has made? Its first function returns to the one code of glibc that others return to and that has no unwind
/// information (`__start_context`).
fn begins_context(process: &Process, pc: u64, frames: &[Frame]) -> bool {
    let module = process.modules.iter().find(|m| (m.start..m.end).contains(&pc));
    let glibc = module.is_some_and(|m| m.name().starts_with("libc.so.6") || m.name().starts_with("libc-2."));
    glibc && frames.len() > 1 && frames.last().is_some_and(|f| !f.exact)
}

/// How many bytes below its stack pointer are the thread's to use. 0 where that is not known.
pub(crate) fn room(process: &Process, tables: &mut Tables, thread: &Thread) -> u64 {
    let sp = thread.registers.rsp;
    let Some(mapping) = maps::at(&process.maps, sp.wrapping_sub(1)).filter(|m| m.write) else { return 0 };
    let from = |start: u64| sp.saturating_sub(start.max(mapping.start));
    let own = own(process, thread);
    if process.begins() {
        return own.map_or(0, |own| from(own.start));
    }
    let stack = Stack { start: 0, bytes: &[], memory: &process.memory };
    let mut frames = Vec::new();
    let stuck = walk(process, tables, thread, &stack, &mut frames).is_err();
    match own.filter(|own| is_innermost(process, thread, own, &frames, stuck)) {
        Some(own) => from(own.start),
        None => handlers(process, thread, &frames).map_or(0, from),
    }
}

/// Has the thread no frame below its stack pointer? A handler's stack, or a coroutine's, may be a variable of a function that has called others.
/// Frames that cannot be followed count for nothing here: code without unwind information is no sign of another stack.
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

/// Where the alternate stack begins on which the thread handles a signal: the kernel says so in the frame that it has left there (`struct rt_sigframe`;
/// a handler's return finds the `ucontext` on top of the stack).
fn handlers(process: &Process, thread: &Thread, frames: &[Frame]) -> Option<u64> {
    let interrupted = frames.iter().skip(1).position(|f| f.exact)?;
    let context = frames.get(interrupted)?.sp;
    let word = |offset: u64| process.memory.word(context.checked_add(offset)?).ok();
    let (start, flags, size) = (word(16)?, word(24)?, word(32)?);
    let end = start.checked_add(size)?;
    let inside = |sp: u64| start <= sp && sp < end;
    let on = flags as u32 & libc::SS_DISABLE.cast_unsigned() == 0;
    (on && inside(thread.registers.rsp) && frames[..=interrupted].iter().all(|f| inside(f.sp)))
        .then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: u64 = 0x7000_f000;

    #[test]
    fn bounds_that_glibc_has_noted() {
        let words = [POINTER, 0, POINTER, 5, 0x7000_0000, 0xf900, 0x1000, 0x1000];
        assert_eq!(noted_by_glibc(&words, POINTER, 0x7000_e000), Some(0x7000_1000..POINTER));
        // In the guard, or elsewhere altogether.
        assert_eq!(noted_by_glibc(&words, POINTER, 0x7000_0800), None);
        assert_eq!(noted_by_glibc(&words, POINTER, 0x7fff_0000), None);
        // The first thread has no block, only the end of the kernel's stack.
        assert_eq!(noted_by_glibc(&[POINTER, 0, 0x7fff_ffff_0000, 0, 0], POINTER, 0x7000_e000), None);
    }

    #[test]
    fn bounds_that_musl_has_noted() {
        let words = [POINTER, 1, 2, 0x7000_0000, 0x1_0000, 0x7000_e800, 0xd800, 0x1000];
        assert_eq!(musl(&words, POINTER, 0x7000_e000), Some(0x7000_1000..0x7000_e800));
        let given = [POINTER, 1, 2, 0, 0, 0x40_e800, 0x4000, 0];
        assert_eq!(musl(&given, POINTER, 0x40_c000), Some(0x40_a800..0x40_e800));
        assert_eq!(musl(&given, POINTER, 0x40_a000), None);
    }
}
