//! Which pages of a mapping hold anything of the process's own (`/proc/PID/pagemap`,
//! Documentation/admin-guide/mm/pagemap.rst).

use super::{maps::Mapping, process::Process};
use crate::sys::page;
use std::{fs::File, ops::Range, os::unix::fs::FileExt};

/// Bits of an entry: in memory, or swapped out.
const PRESENT: u64 = 3 << 62;
/// It is a page of a file, or of shared memory.
const OF_FILE: u64 = 1 << 61;
/// Entries read in one go.
const MANY: u64 = 1 << 14;

/// The parts of a mapping that have been touched; all of it where the kernel does not tell.
pub(crate) fn present(process: &Process, mapping: &Mapping) -> Vec<Range<u64>> {
    let whole = || std::iter::once(mapping.start..mapping.end).collect();
    runs(process, mapping).unwrap_or_else(whole)
}

/// Has the process a copy of its own of the page at `address` in a private mapping of a file, which somebody
/// has written to? Also where the kernel does not tell.
pub(crate) fn is_copied(process: &Process, address: u64) -> bool {
    let mut entry = [0; 8];
    let file = File::open(format!("/proc/{}/pagemap", process.view));
    if file.and_then(|f| f.read_exact_at(&mut entry, 8 * (address / page::size()))).is_err() {
        return true;
    }
    let entry = u64::from_le_bytes(entry);
    entry & PRESENT != 0 && entry & OF_FILE == 0
}

fn runs(process: &Process, mapping: &Mapping) -> Option<Vec<Range<u64>>> {
    let file = File::open(format!("/proc/{}/pagemap", process.view)).ok()?;
    let mut runs: Vec<Range<u64>> = Vec::new();
    let size = page::size();
    let (mut page, end) = (mapping.start / size, mapping.end / size);
    while page < end {
        let count = MANY.min(end - page);
        let mut entries = vec![0; usize::try_from(8 * count).ok()?];
        file.read_exact_at(&mut entries, 8 * page).ok()?;
        for (entry, page) in entries.chunks_exact(8).zip(page..) {
            if u64::from_le_bytes(entry.try_into().ok()?) & PRESENT == 0 {
                continue;
            }
            let at = page * size;
            match runs.last_mut() {
                Some(last) if last.end == at => last.end += size,
                _ => runs.push(at..at + size),
            }
        }
        page += count;
    }
    Some(runs)
}
