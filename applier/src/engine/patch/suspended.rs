//! Stacks that no thread is on, and that somebody will go back to: coroutines, fibers, contexts. With all
//! threads stopped, the memory that the process may write is searched for what such stacks return to.
//!
//! - What the C library has saved is known by its form. A `ucontext_t` has a pointer into itself. What
//!   `setjmp` saves ends with two words that are an address of a stack and one of code once the process's own
//!   secret is taken off (`PTR_MANGLE`). The stack is followed like a thread's. Somebody will go back to it
//!   as long as what its call has pushed lies below its stack pointer; code that has gone on since has
//!   overwritten that.
//! - Where code of the process goes to other stacks in its own way, any return address into the code counts
//!   that lies outside of the threads' own stacks. Some of those may be old: then the process is busy for
//!   longer than it must be.

use super::quiesce::{Zone, ZoneRule};
use crate::{
    Busy,
    arch::{
        Registers,
        saved::{
            self, CONTEXT, JUMP_BUFFER, JUMP_BUFFER_BEFORE, LONGEST_CALL, POINTER, POINTS_TO, demangled,
        },
        thread,
    },
    engine::target::{
        frames::Tables,
        maps::{self, Mapping},
        pages, pieces,
        process::Process,
        stack,
        switches::Stacks,
        threads::Thread,
        unwind::{Frame, Stack},
    },
};
use std::ops::Range;

/// What is as large as this is no memory that a program keeps stacks in, but the shadow that a sanitizer has
/// of all other memory; to ask which of its pages were touched would take minutes.
const RESERVED: u64 = 256 << 30;
/// Bytes of memory looked at in one go.
const PIECE: u64 = 1 << 20;
/// Words are looked at in lines of so many bytes.
const LINE: usize = 64;
/// Size of the largest function that saves its own registers by `setjmp`, and calls what leads to `longjmp`.
const FUNCTION: u64 = 64 << 10;
/// Bytes of a stack that are searched where it cannot be followed.
const SEARCHED: u64 = 64 << 10;

/// Looks for a stack that leads to one of `zones`.
pub(super) fn find(
    process: &Process,
    threads: &[Thread],
    tables: &mut Tables,
    zones: &[Zone],
    stacks: Stacks,
) -> Option<Busy> {
    let first = threads.first().filter(|_| stacks != Stacks::Own)?;
    let zones: Vec<&Zone> = zones.iter().filter(|z| z.rule != ZoneRule::Running).collect();
    let bounds = hull(zones.iter().map(|z| z.start..z.end))?;
    let search = Search {
        process,
        threads,
        own: threads.iter().filter_map(|t| stack::own(process, t)).collect(),
        zones,
        bounds,
        code: hull(process.modules.iter().map(|m| m.start..m.end))?,
        // A thread that no C library has set up has none, and mangles nothing.
        secret: process.memory.word(saved::secret(first.registers.thread_pointer())).unwrap_or(0),
        stacks,
    };
    let holds =
        |m: &&Mapping| m.write && !m.shared && m.end - m.start < RESERVED && !m.name.contains("upatch:");
    let places = process.maps.iter().filter(holds);
    places.flat_map(|m| pages::present(process, m)).find_map(|range| search.range(tables, range))
}

fn hull(ranges: impl Iterator<Item = Range<u64>>) -> Option<Range<u64>> {
    ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
}

struct Search<'a> {
    process: &'a Process,
    threads: &'a [Thread],
    /// Stacks of the threads that are on their own.
    own: Vec<Range<u64>>,
    zones: Vec<&'a Zone>,
    /// Around all zones, and around all modules.
    bounds: Range<u64>,
    code: Range<u64>,
    /// What the C library mangles pointers with.
    secret: u64,
    stacks: Stacks,
}

impl Search<'_> {
    fn range(&self, tables: &mut Tables, range: Range<u64>) -> Option<Busy> {
        let mut bytes = vec![0; usize::try_from(PIECE.min(range.end - range.start)).unwrap_or(0)];
        let mut at = range.start;
        let mut before = 0;
        while at < range.end {
            let len = usize::try_from(PIECE.min(range.end - at)).unwrap_or(0);
            let piece = &mut bytes[..len];
            if let Err(unreadable) = self.read(at, piece) {
                return Some(unreadable);
            }
            for (line, place) in piece.chunks(LINE).zip((at..).step_by(LINE)) {
                // Nearly all words mean nothing, so this test takes most of the time.
                let suspect = placed(line, place).fold(false, |any, (w, at)| any | self.is_suspect(w, at));
                if suspect && let Some(found) = self.line(tables, line, before, place) {
                    return Some(found);
                }
                before = words(line).last().unwrap_or(0);
            }
            at += PIECE;
        }
        None
    }

    /// Reads memory of the process, also what it may only write. What cannot be read may hold anything.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Busy> {
        let got = pieces::read(self.process.view, &mut [(at, &mut *bytes)]).unwrap_or(0);
        let Some((rest, from)) = bytes.get_mut(got..).zip(at.checked_add(got as u64)) else { return Ok(()) };
        if rest.is_empty() {
            return Ok(());
        }
        self.process.memory.read_into(from, rest).map_err(|error| {
            let why = format!(
                "is out of the way, but whether a suspended stack (of a coroutine, fiber or context) lies at \
                 {from:#x} or behind is not known: {error}"
            );
            Busy { tid: self.process.pid, function: None, why }
        })
    }

    /// May the word at `place` mean anything?
    fn is_suspect(&self, word: u64, place: u64) -> bool {
        let address = demangled(word, self.secret);
        (word == place.wrapping_add(POINTS_TO - POINTER))
            | (address.wrapping_sub(self.code.start) < self.code.end - self.code.start)
            | (word.wrapping_sub(self.bounds.start) <= self.bounds.end - self.bounds.start)
    }

    fn line(&self, tables: &mut Tables, line: &[u8], mut before: u64, place: u64) -> Option<Busy> {
        placed(line, place)
            .find_map(|(word, place)| self.word(tables, word, std::mem::replace(&mut before, word), place))
    }

    /// What a word of memory means, which is at `place` behind the word `before`.
    fn word(&self, tables: &mut Tables, word: u64, before: u64, place: u64) -> Option<Busy> {
        if word == place.wrapping_add(POINTS_TO - POINTER) {
            return self.context(tables, place - POINTER);
        }
        let address = demangled(word, self.secret);
        if self.code.contains(&address) {
            return self.jump(tables, place, demangled(before, self.secret), address);
        }
        if self.stacks != Stacks::Any || !self.bounds.contains(&word.wrapping_sub(1)) {
            return None;
        }
        let zone = self.zone(Frame { pc: word, exact: false, sp: place })?;
        (!self.is_own(place) && self.follows_call(word) && !self.is_of_ended_thread(place))
            .then(|| self.busy(place, zone))
    }

    fn zone(&self, frame: Frame) -> Option<&Zone> {
        self.zones.iter().copied().find(|z| z.holds(frame))
    }

    fn is_own(&self, address: u64) -> bool {
        self.own.iter().any(|own| own.contains(&address))
    }

    /// A `ucontext_t`.
    fn context(&self, tables: &mut Tables, at: u64) -> Option<Busy> {
        let bytes = self.process.memory.read(at, CONTEXT).ok()?;
        let words: Vec<u64> = words(&bytes).collect();
        let others = &self.threads.first()?.registers;
        let (registers, start, size) = saved::context(&words, others)?;
        let end = start.saturating_add(size);
        // Somebody is on it, and somewhere else by now.
        if self.threads.iter().any(|t| (start..end).contains(&t.registers.sp())) {
            return None;
        }
        self.stack(tables, registers, 0)
    }

    /// What `setjmp` has saved, with its last word at `place`.
    fn jump(&self, tables: &mut Tables, place: u64, sp: u64, pc: u64) -> Option<Busy> {
        let bytes = self.process.memory.read(place.checked_sub(JUMP_BUFFER_BEFORE)?, JUMP_BUFFER).ok()?;
        let words: Vec<u64> = words(&bytes).collect();
        let others = &self.threads.first()?.registers;
        let registers = saved::jump_buffer(&words, self.secret, (sp, pc), others)?;
        self.stack(tables, registers, FUNCTION)
    }

    /// A stack whose registers were saved by a call, from a function that may have made others since, if they
    /// are not further away than `near`.
    fn stack(&self, tables: &mut Tables, registers: Registers, near: u64) -> Option<Busy> {
        let (sp, pc) = (registers.sp(), registers.pc());
        let pushed = self.process.memory.word(sp.checked_sub(8)?).ok()?;
        let mapping = maps::at(&self.process.maps, sp).filter(|m| m.write)?;
        if pushed.abs_diff(pc) > near || self.is_own(sp) {
            return None;
        }
        let thread = Thread { tid: self.process.pid, registers, suspended: false };
        let ahead = Stack { start: 0, bytes: &[], memory: &self.process.memory };
        let mut frames = Vec::new();
        let stuck = stack::walk(self.process, tables, &thread, &ahead, &mut frames).err();
        if let Some(first) = frames.first_mut() {
            first.exact = false;
        }
        if let Some(zone) = frames.iter().find_map(|f| self.zone(*f)) {
            return Some(self.busy(sp, zone));
        }
        stuck.and_then(|_| self.rest(mapping, frames.last().map_or(sp, |f| f.sp)))
    }

    /// A part of a stack that cannot be followed.
    fn rest(&self, mapping: &Mapping, from: u64) -> Option<Busy> {
        let len = mapping.end.checked_sub(from)?.min(SEARCHED);
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        if let Err(unreadable) = self.read(from, &mut bytes) {
            return Some(unreadable);
        }
        let zone = words(&bytes).find_map(|pc| self.zone(Frame { pc, exact: false, sp: from }))?;
        Some(self.busy(from, zone))
    }

    /// Is the instruction before this address a call?
    fn follows_call(&self, address: u64) -> bool {
        let before = address.wrapping_sub(LONGEST_CALL as u64);
        let mut bytes = [0; LONGEST_CALL];
        self.process.memory.read_into(before, &mut bytes).is_err() || saved::ends_with_call(bytes)
    }

    /// Is the place on the stack of a thread that has ended? glibc keeps such stacks for the next one.
    fn is_of_ended_thread(&self, place: u64) -> bool {
        const LARGEST: u64 = 64 << 20;
        let Some(mapping) = maps::at(&self.process.maps, place) else { return false };
        let Some(len) = usize::try_from(mapping.end - place).ok().filter(|n| *n as u64 <= LARGEST) else {
            return false;
        };
        let Ok(bytes) = self.process.memory.read(place, len) else { return false };
        let all: Vec<u64> = words(&bytes).collect();
        let tid = |index: usize| {
            let thread = thread::thread_with_stack(&all[index..], place + 8 * index as u64, place)?;
            Some(self.process.memory.word(thread + thread::TID).unwrap_or(1) as u32 as i32)
        };
        (0..all.len()).find_map(tid).is_some_and(|tid| tid <= 0)
    }

    fn busy(&self, at: u64, zone: &Zone) -> Busy {
        let why = format!(
            "is out of the way, but a suspended stack (of a coroutine, fiber or context) at {at:#x} holds a \
             return address into {}",
            zone.name
        );
        Busy { tid: self.process.pid, function: Some(zone.name.clone()), why }
    }
}

/// The words of `bytes`, which are at `place`, each with its address.
fn placed(bytes: &[u8], place: u64) -> impl Iterator<Item = (u64, u64)> {
    words(bytes).zip((place..).step_by(8))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_le_bytes))
}
