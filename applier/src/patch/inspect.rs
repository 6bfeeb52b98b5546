//! Which patches a process has.

use super::transaction::{self, Site};
use crate::{
    Located, Options, ProcessError,
    target::{maps::Mapping, memory::Memory, process::Process},
};
use patchfile::control::{self, Control, Entry, Phase};

/// The patches in a process, in the order of their addresses. Those that a killed applier left unfinished are there with
/// [`Phase::Loading`].
///
/// # Errors
/// [`ProcessError::Gone`], [`ProcessError::Zombie`], [`ProcessError::NotPermitted`].
pub fn inspect(pid: i32) -> Result<Vec<Located>, ProcessError> {
    let process = Process::open(pid, &Options::default())?;
    Ok(locate(&process.maps, &process.memory))
}

/// Finds the control blocks: at the start of mappings with our name, or (where naming was not possible) of read-only
/// memory without one. Left out are those whose library was closed since.
pub(crate) fn locate(maps: &[Mapping], memory: &Memory) -> Vec<Located> {
    let possible = |m: &&Mapping| {
        let named = m.name.starts_with("/memfd:upatch:") && m.offset == 0;
        let unnamed = m.inode == 0 && (m.name.is_empty() || m.name.starts_with("[anon"));
        m.read && !m.write && !m.execute && (named || unnamed)
    };
    let mut found: Vec<Located> =
        maps.iter().filter(possible).filter_map(|m| read_block(m.start, memory)).collect();
    let gone: Vec<bool> = found.iter().map(|l| is_gone(l, &found, memory)).collect();
    let mut gone = gone.into_iter();
    found.retain(|_| !gone.next().unwrap_or(false));
    let states: Vec<bool> = found.iter().map(|l| is_in_force(l, &found, memory)).collect();
    for (located, state) in found.iter_mut().zip(states) {
        located.in_force = state;
    }
    found
}

fn read_block(address: u64, memory: &Memory) -> Option<Located> {
    let mut magic = [0; 8];
    memory.read_into(address, &mut magic).ok()?;
    if magic != control::MAGIC {
        return None;
    }
    let header = memory.read(address, usize::try_from(control::HEADER_SIZE).ok()?).ok()?;
    let size = control::size(Control::count(&header).ok()?);
    let control = Control::decode(&memory.read(address, usize::try_from(size).ok()?).ok()?).ok()?;
    Some(Located { address, control, in_force: false })
}

/// What is at a function's entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    /// The code as it was linked.
    Linked,
    /// A jump of ours.
    Ours,
    /// The function, its entry changed by somebody else (a breakpoint).
    Changed,
    /// Not this function: the module is gone, and perhaps another one in its place.
    Absent,
}

fn code_at(entry: &Entry, found: &[Located], memory: &Memory) -> Code {
    let mut bytes = [0; 8];
    if memory.read_into(entry.site, &mut bytes).is_err() {
        return Code::Absent;
    }
    if bytes[..5] == entry.original[..5] {
        return Code::Linked;
    }
    let leads_here = |to: u64| {
        let mut entries = found.iter().flat_map(|l| &l.control.entries);
        entries.any(|e| e.site == entry.site && (to == e.new || to == e.stub))
    };
    match transaction::site(memory, entry.site) {
        Ok(Site::Jump(to)) if leads_here(to) => Code::Ours,
        // What is not overwritten is still there.
        Ok(_) if bytes[5..] == entry.original[5..] => Code::Changed,
        _ => Code::Absent,
    }
}

/// Is the module that the image was for there no more? A library that was closed leaves its image behind.
fn is_gone(located: &Located, found: &[Located], memory: &Memory) -> bool {
    let entries = &located.control.entries;
    !entries.is_empty() && entries.iter().all(|e| code_at(e, found, memory) == Code::Absent)
}

/// The flag decides, except where the code says otherwise: a single entry that jumps to the new function directly, or that
/// is as it was linked; several that are all as they were linked, since their library was closed and loaded again.
fn is_in_force(located: &Located, found: &[Located], memory: &Memory) -> bool {
    let control = &located.control;
    if control.phase != Phase::Ready {
        return false;
    }
    match control.entries.as_slice() {
        [] => control.active,
        [entry] => match transaction::site(memory, entry.site) {
            Ok(Site::Jump(to)) if to == entry.new => true,
            Ok(Site::Bytes(bytes)) if bytes == entry.original[..5] => false,
            _ => control.active,
        },
        entries => control.active && !entries.iter().all(|e| code_at(e, found, memory) == Code::Linked),
    }
}
