//! Which patches a process has.

use super::transaction::{self, Site};
use crate::{
    Located, Options, ProcessError,
    target::{maps::Mapping, memory::Memory, process::Process},
};
use patchfile::control::{self, Control, Phase};

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
/// memory without one.
pub(crate) fn locate(maps: &[Mapping], memory: &Memory) -> Vec<Located> {
    let possible = |m: &&Mapping| {
        let named = m.name.starts_with("/memfd:upatch:") && m.offset == 0;
        let unnamed = m.inode == 0 && (m.name.is_empty() || m.name.starts_with("[anon"));
        m.read && !m.write && !m.execute && (named || unnamed)
    };
    let mut found: Vec<Located> =
        maps.iter().filter(possible).filter_map(|m| read_block(m.start, memory)).collect();
    let states: Vec<bool> = found.iter().map(|l| is_in_force(l, memory)).collect();
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

/// The flag decides, except where the code says otherwise: a single entry that jumps to the new function directly, or that
/// is as it was linked.
fn is_in_force(located: &Located, memory: &Memory) -> bool {
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
        _ => control.active,
    }
}
