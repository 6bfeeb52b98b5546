//! Is any stopped thread in code that is about to change hands?

use super::search::{self, StackSearch};
use crate::{
    Busy,
    arch::saved::{self, Interrupted},
    engine::target::{
        frames::Tables,
        maps, pieces,
        process::Process,
        stack,
        threads::Thread,
        unwind::{Frame, Stack, Unsure},
    },
};

/// Code that no thread may be in.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Which threads are in it.
    pub rule: ZoneRule,
    /// Addresses at which a thread may be all the same, since it has not begun yet.
    pub entries: Vec<u64>,
    /// What it is, for messages.
    pub name: String,
}

/// Which threads count as being in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneRule {
    /// Threads with a frame of the zone's functions on the stack. A return address belongs to the function of
    /// the call before it.
    Function,
    /// Threads that are at an address in the zone or will return to one: its bytes are overwritten.
    Bytes,
    /// Threads that were stopped or interrupted by a signal while they ran code of the zone. Such a thread
    /// may hold one of its locks. A thread that waits in a system call counts only if somebody may hold a
    /// lock in that call.
    Running,
}

impl Zone {
    pub(super) fn holds(&self, frame: Frame) -> bool {
        let pc = match self.rule {
            ZoneRule::Function if !frame.exact => frame.pc.wrapping_sub(1),
            ZoneRule::Running if !frame.exact => return false,
            _ => frame.pc,
        };
        (self.start..self.end).contains(&pc) && !(frame.exact && self.entries.contains(&frame.pc))
    }
}

/// System calls that a memory allocator makes while it holds a lock that others may need. `futex` is none of
/// them, though threads wait for such locks in it: a chain of threads, each of which waits for what the next
/// one holds, ends at one that does not wait and is seen there. Most that wait in it wait for something else
/// altogether: `pthread_cond_wait`, `pthread_join`, `sem_wait`, a mutex of the program.
const ALLOCATING: [i64; 5] =
    [libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise];

/// Does the thread wait in a system call that holds up nobody?
fn waits(thread: &Thread) -> bool {
    thread.registers.call().is_some_and(|call| !ALLOCATING.contains(&call))
}

/// Was it in such a call when a signal came, whose handler's return is `handler` (it finds the `ucontext` on
/// top of the stack)? A call that has given up for a signal is none of those that allocate.
fn waited(process: &Process, handler: Frame, interrupted: Frame) -> bool {
    let memory = &process.memory;
    let code = |at: u64| memory.read(at, 2).ok()?.try_into().ok();
    match saved::interrupted(handler.sp, interrupted.pc, |at| memory.word(at).ok(), code) {
        Interrupted::GaveUp => true,
        Interrupted::ToBeMadeAgain(call) => !ALLOCATING.contains(&call),
        Interrupted::Code => false,
    }
}

/// Where a thread comes out of what changes: the address that its outermost frame there returns to, and its
/// stack pointer then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitPoint {
    pub to: u64,
    pub sp: u64,
}

/// A thread in the way, and how it gets out of it, if it can be known.
#[derive(Clone, Debug)]
pub(crate) struct BusyThread {
    pub busy: Busy,
    pub exit: Option<ExitPoint>,
}

/// The threads among `which` that are in one of `zones`. `lazy`: a stack that cannot be unwound is searched,
/// whatever it is.
pub(crate) fn find_busy(
    process: &Process,
    which: &[&Thread],
    tables: &mut Tables,
    zones: &[Zone],
    lazy: bool,
) -> Vec<BusyThread> {
    let mut stacks: Vec<(u64, Vec<u8>)> = which
        .iter()
        .map(|t| {
            let sp = t.registers.sp();
            let end = maps::at(&process.maps, sp).map_or(sp, |m| m.end);
            (sp, vec![0; usize::try_from((end - sp).min(stack::AHEAD)).unwrap_or(0)])
        })
        .collect();
    let want: usize = stacks.iter().map(|(_, b)| b.len()).sum();
    let mut pieces: Vec<_> = stacks.iter_mut().map(|(a, b)| (*a, b.as_mut_slice())).collect();
    let complete = pieces::read(process.view, &mut pieces).is_ok_and(|got| got == want);
    let mut found = Vec::new();
    for (thread, (start, bytes)) in which.iter().zip(&stacks) {
        let bytes: &[u8] = if complete { bytes } else { &[] };
        let ahead = Stack { start: *start, bytes, memory: &process.memory };
        let mut frames = Vec::new();
        found.extend(match stack::walk(process, tables, thread, &ahead, &mut frames) {
            Ok(()) => in_zone(process, thread, &frames, zones),
            Err(unsure) => {
                may_return(process, thread, &unsure, zones, lazy).map(|busy| BusyThread { busy, exit: None })
            }
        });
    }
    found
}

fn in_zone(process: &Process, thread: &Thread, frames: &[Frame], zones: &[Zone]) -> Option<BusyThread> {
    let counts = |depth: usize, zone: &Zone| match depth.checked_sub(1) {
        _ if zone.rule != ZoneRule::Running => true,
        None => !waits(thread),
        Some(inner) => !waited(process, frames[inner], frames[depth]),
    };
    let hit = |(depth, frame): (usize, &Frame)| {
        Some((depth, zones.iter().find(|z| z.holds(*frame) && counts(depth, z))?))
    };
    let (innermost, zone) = frames.iter().enumerate().find_map(hit)?;
    let outermost = frames.iter().enumerate().rev().find_map(hit).map_or(innermost, |(depth, _)| depth);
    let frame = frames[innermost];
    let verb = if frame.exact { "is in" } else { "returns to" };
    let why = format!("{verb} {} at {:#x}", zone.name, frame.pc);
    // A frame that a signal has interrupted does not return, its handler does.
    let exit = frames.get(outermost + 1).filter(|f| !f.exact).map(|f| ExitPoint { to: f.pc, sp: f.sp });
    Some(BusyThread { busy: Busy { tid: thread.tid, function: Some(zone.name.clone()), why }, exit })
}

/// Of a thread whose stack cannot be unwound.
fn may_return(
    process: &Process,
    thread: &Thread,
    unsure: &Unsure,
    zones: &[Zone],
    lazy: bool,
) -> Option<Busy> {
    let found = if lazy {
        search::any_stack(process, thread, zones)
    } else {
        search::own_stack(process, thread, zones)
    };
    let place = || format!("is in {}: {}", describe(process, unsure.pc), unsure.why);
    let (function, why) = match found {
        StackSearch::Nothing => return None,
        StackSearch::In(zone) => {
            (Some(zone.name.clone()), format!("{}, and may return to {}", place(), zone.name))
        }
        StackSearch::Unknown => (None, place()),
    };
    Some(Busy { tid: thread.tid, function, why })
}

/// `libfoo.so+0x123` for an address.
fn describe(process: &Process, pc: u64) -> String {
    match process.modules.iter().find(|m| (m.start..m.end).contains(&pc)) {
        Some(module) => format!("{}+{:#x}", module.name(), pc.wrapping_sub(module.bias)),
        None => format!("code at {pc:#x} that belongs to no file"),
    }
}
