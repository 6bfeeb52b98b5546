//! Which patches a process has.

use super::entry::{EntrySite, SiteContent, jump_at};
use crate::{
    Located, Options, ProcessError,
    arch::{FACTS, redirect::JUMP},
    engine::target::{maps::Mapping, memory::Memory, process::Process},
};
use patchfile::control::{self, Control, Entry, Phase};
use std::collections::HashSet;

/// The patches in a process, in the order of their addresses. Those that a killed applier left unfinished are
/// there with [`Phase::Loading`].
///
/// # Errors
/// [`ProcessError::Gone`], [`ProcessError::Zombie`], [`ProcessError::NotPermitted`].
pub fn inspect(pid: i32) -> Result<Vec<Located>, ProcessError> {
    let process = Process::open(pid, &Options::default())?;
    Ok(locate(&process.maps, &process.memory))
}

/// Most entries that are read in one process. The process's memory says how many there are, and may say
/// anything.
const ENTRIES: usize = 1 << 16;
/// Images are mapped at multiples of this.
const PAGE: usize = FACTS.page as usize;
/// Pages that are looked at in one process for blocks in memory without a name.
const PAGES: usize = 4096;

/// Finds the control blocks: at the start of mappings with our name, or (where naming was not possible) of
/// pages of read-only memory without one, which the kernel joins to what is beside it. Left out are those
/// whose library was closed since.
pub(crate) fn locate(maps: &[Mapping], memory: &Memory) -> Vec<Located> {
    let of_named = maps.iter().filter(|m| is_named(m) && m.offset == 0).map(|m| (m.start, m.end));
    let pages = |m: &Mapping| {
        let end = m.end;
        (m.start..end).step_by(PAGE).map(move |address| (address, end))
    };
    let of_unnamed = maps.iter().filter(|m| is_unnamed(m) && is_read_only(m)).flat_map(pages).take(PAGES);
    let places = of_named.chain(of_unnamed);
    let mut found = Vec::new();
    let mut left = ENTRIES;
    for (start, end) in places {
        if let Some(block) = read_block(start, end - start, left, memory) {
            left -= block.control.entries.len();
            found.push(block);
        }
    }
    found.sort_by_key(|l| l.address);
    let ways = ways(&found);
    found.retain(|l| !is_gone(l, &ways, memory));
    let ways = self::ways(&found);
    let states: Vec<bool> = found.iter().map(|l| is_in_force(l, &ways, memory)).collect();
    for (located, state) in found.iter_mut().zip(states) {
        located.in_force = state;
    }
    for located in found.iter_mut().filter(|l| l.in_force) {
        let changed =
            |e: &&Entry| matches!(code_at(e, &ways, memory), EntryState::Disturbed | EntryState::Changed);
        located.disturbed = located.control.entries.iter().filter(changed).map(|e| e.site).collect();
    }
    found
}

/// May a process with this map have a patch? Without a name it can only be told by looking, where there is
/// code that has no file.
pub(crate) fn may_carry(maps: &[Mapping]) -> bool {
    maps.iter().any(is_named)
        || (maps.iter().any(|m| is_unnamed(m) && m.execute)
            && maps.iter().any(|m| is_unnamed(m) && is_read_only(m)))
}

fn is_named(m: &Mapping) -> bool {
    m.name.starts_with("/memfd:upatch:") && is_read_only(m)
}

fn is_unnamed(m: &Mapping) -> bool {
    m.inode == 0 && (m.name.is_empty() || m.name.starts_with("[anon"))
}

fn is_read_only(m: &Mapping) -> bool {
    m.read && !m.write && !m.execute
}

/// Our jumps: from the address of an entry to a new function or stub.
type Jumps = HashSet<(u64, u64)>;

fn ways(found: &[Located]) -> Jumps {
    let entries = found.iter().flat_map(|l| &l.control.entries);
    entries.flat_map(|e| [(e.site, e.new), (e.site, e.stub)]).collect()
}

/// The block at `address`, in a mapping that has `room` bytes from there; of no more than `most` entries.
fn read_block(address: u64, room: u64, most: usize, memory: &Memory) -> Option<Located> {
    let mut magic = [0; 8];
    memory.read_into(address, &mut magic).ok()?;
    if magic != control::MAGIC {
        return None;
    }
    let header = memory.read(address, usize::try_from(control::HEADER_SIZE).ok()?).ok()?;
    let count = Control::count(&header).ok().filter(|n| *n <= most)?;
    let size = Some(control::size(count)).filter(|size| *size <= room)?;
    let control = Control::decode(&memory.read(address, usize::try_from(size).ok()?).ok()?).ok()?;
    Some(Located { address, control, in_force: false, disturbed: Vec::new() })
}

/// What is at a function's entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EntryState {
    /// The code as it was linked.
    Linked,
    /// A jump of ours.
    Ours,
    /// A jump of ours, with a breakpoint of somebody else on it, or what one has left.
    Disturbed,
    /// The function, its entry changed by somebody else (a breakpoint).
    Changed,
    /// Not this function: the module is gone, and perhaps another one in its place.
    Absent,
}

/// Is there a jump of ours below a breakpoint?
fn is_below(entry: &Entry, ways: &Jumps, memory: &Memory) -> bool {
    let below = EntrySite::from(entry).below_breakpoint(memory).ok().flatten();
    below.is_some_and(|to| ways.contains(&(entry.site, to)))
}

fn code_at(entry: &Entry, ways: &Jumps, memory: &Memory) -> EntryState {
    match EntrySite::from(entry).found(memory) {
        Err(_) => EntryState::Absent,
        Ok(SiteContent::Linked) => EntryState::Linked,
        Ok(SiteContent::Jump(to)) if ways.contains(&(entry.site, to)) => EntryState::Ours,
        Ok(SiteContent::Other) if is_below(entry, ways, memory) => EntryState::Disturbed,
        // What is not overwritten is still there.
        Ok(_) if stays(entry, ways, memory) => EntryState::Changed,
        Ok(_) => EntryState::Absent,
    }
}

/// Is what belongs to an entry, and that nobody else would change, as it should be: the bytes behind a long
/// jump, or the padding?
fn stays(entry: &Entry, ways: &Jumps, memory: &Memory) -> bool {
    let Some((hop, linked)) = entry.hop else {
        let mut bytes = [0; 8];
        return memory.read_into(entry.site, &mut bytes).is_ok() && bytes[JUMP..] == entry.original[JUMP..];
    };
    let mut bytes = [0; JUMP];
    let ours =
        || matches!(jump_at(memory, hop), Ok(SiteContent::Jump(to)) if ways.contains(&(entry.site, to)));
    memory.read_into(hop, &mut bytes).is_ok() && (bytes == linked[..JUMP] || ours())
}

/// Is the module that the image was for there no more? A library that was closed leaves its image behind.
fn is_gone(located: &Located, ways: &Jumps, memory: &Memory) -> bool {
    let entries = &located.control.entries;
    !entries.is_empty() && entries.iter().all(|e| code_at(e, ways, memory) == EntryState::Absent)
}

/// The flag decides, except where the code says otherwise: a single entry that jumps to the new function
/// directly, or that is as it was linked; several that are all as they were linked, since their library was
/// closed and loaded again.
fn is_in_force(located: &Located, ways: &Jumps, memory: &Memory) -> bool {
    let control = &located.control;
    if control.phase != Phase::Ready {
        return false;
    }
    match control.entries.as_slice() {
        [] => control.active,
        [entry] => match EntrySite::from(entry).found(memory) {
            Ok(SiteContent::Jump(to)) if to == entry.new => true,
            Ok(SiteContent::Linked) => false,
            _ => control.active,
        },
        entries => control.active && !entries.iter().all(|e| code_at(e, ways, memory) == EntryState::Linked),
    }
}
