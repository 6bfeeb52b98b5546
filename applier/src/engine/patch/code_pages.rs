//! Pages of code that a patch writes to ([`crate::engine::load::CodePages`]).

use super::{
    entry::{EntrySite, SiteContent, jump_at},
    instances::Instance,
};
use crate::{
    Located,
    arch::redirect::JUMP,
    engine::{load::CodePages, target::process::Process},
};
use patchfile::control::Entry;

/// Pages of files that hold any byte which redirecting the functions of `instances` writes.
pub(super) fn to_exchange(process: &Process, instances: &[Instance<'_>], images: &[Located]) -> CodePages {
    let redirects =
        instances.iter().flat_map(|i| i.elf.image.redirects.iter().map(|r| EntrySite::of(r, i.module.bias)));
    let written = redirects.flat_map(|way| std::iter::once(way.overwritten()).chain(way.between()));
    CodePages::find(process, written, &jumps(process, images))
}

/// What we have written to code: jumps of patches in force, as they are without breakpoints of others.
fn jumps(process: &Process, images: &[Located]) -> Vec<(u64, Vec<u8>)> {
    let memory = &process.memory;
    let entries = || images.iter().flat_map(|l| &l.control.entries);
    let ours = |site: u64, to: u64| entries().any(|e| e.site == site && (to == e.new || to == e.stub));
    let at = |entry: &Entry| {
        let way = EntrySite::from(entry);
        let to = match way.found(memory).ok()? {
            SiteContent::Linked => return None,
            SiteContent::Jump(to) => Some(to),
            SiteContent::Other => way.below_breakpoint(memory).ok()?,
        };
        way.lead(to.filter(|to| ours(entry.site, *to))?).ok()
    };
    // A jump stays in padding until nobody can be on the way there.
    let left = |entry: &Entry| {
        let hop = entry.hop?.0;
        match jump_at(memory, hop).ok()? {
            SiteContent::Jump(to) if ours(entry.site, to) => Some((hop, memory.read(hop, JUMP).ok()?)),
            _ => None,
        }
    };
    entries().flat_map(at).flatten().chain(entries().filter_map(left)).collect()
}

/// In words, which breakpoints and uprobes of others are no more.
pub(super) fn without(traps: &[u64]) -> Option<String> {
    let places: Vec<String> = traps.iter().map(|at| format!("{at:#x}")).collect();
    (!places.is_empty()).then(|| {
        format!(
            "uprobes or breakpoints of others at {} are no longer hit in this process: the functions that \
             are patched share a page with them",
            places.join(", ")
        )
    })
}
