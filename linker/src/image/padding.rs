//! Padding between functions, in reach of a short jump: room for the long jump of an entry that has none.
//!
//! Only bytes that are padding for certain count: between the end of what the linker put in from one object
//! and the start of the next, or between the end of a function whose size is known and the next symbol; all
//! of `nop` or `int3`; and nothing of the target leads there. Sizes and places are those of the linked file,
//! so the target must have the same code at the same addresses.

use std::collections::BTreeMap;
use std::ops::Range;

use patchfile::image::Hop;

use super::target::TargetElf;
use crate::elf::{ElfFile, SHF_EXECINSTR, SHT_RELA, STT_FILE, STT_TLS};

use crate::locate::linked::{Linked, is_function};

/// Padding is filled up to the alignment of a function, or as an option of the compiler says: there is never
/// much of it.
const LONGEST: u64 = 4096;

/// What is known of a target's padding.
#[derive(Debug)]
pub(crate) struct Padding<'a, 'b> {
    linked: &'b Linked<'a>,
    target: &'b TargetElf<'a>,
    same: bool,
    /// What is overwritten already.
    taken: Vec<Range<u64>>,
}

/// Where something begins, and where it ends, if that is known.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    end: Option<u64>,
    /// Another object's code begins here.
    object: bool,
}

impl<'a, 'b> Padding<'a, 'b> {
    pub(crate) fn new(linked: &'b Linked<'a>, target: &'b TargetElf<'a>) -> Self {
        let same = code(&linked.elf) == code(&target.elf);
        Self { linked, target, same, taken: Vec::new() }
    }

    /// Something else is written there.
    pub(crate) fn take(&mut self, range: Range<u64>) {
        self.taken.push(range);
    }

    /// Takes the padding nearest to an entry at `site` that a short jump reaches.
    pub(crate) fn hop(&mut self, site: u64) -> Option<Hop> {
        let facts = self.target.machine.arch().facts();
        let next = site.checked_add(facts.short_jump?)?;
        let reach = next.saturating_sub(facts.short_reach + 1)..=next.saturating_add(facts.short_reach);
        let runs = self.runs(site);
        let mut places: Vec<u64> = runs.iter().cloned().flat_map(|run| places(run, facts.jump)).collect();
        places.retain(|at| reach.contains(at) && self.is_free(*at));
        places.sort_by_key(|at| (at.abs_diff(site), *at));
        let address = places.into_iter().find(|at| !self.is_led_to(*at, &runs))?;
        let mut original = [0; 8];
        original.iter_mut().zip(self.target.elf.bytes_from(address)).for_each(|(to, from)| *to = *from);
        self.take(address..address + facts.jump);
        Some(Hop { address, original })
    }

    /// Length of the jump that is to stand in the padding.
    fn jump(&self) -> u64 {
        self.target.machine.arch().facts().jump
    }

    fn is_free(&self, at: u64) -> bool {
        self.taken.iter().all(|range| at + self.jump() <= range.start || at >= range.end)
    }

    /// All padding of the section that holds `site`.
    fn runs(&self, site: u64) -> Vec<Range<u64>> {
        let holds = |s: &&crate::elf::Section| {
            s.flags & SHF_EXECINSTR != 0 && site >= s.address && site < s.address + s.size
        };
        let Some(section) = self.linked.elf.sections.iter().find(holds).filter(|_| self.same) else {
            return Vec::new();
        };
        let mut starts: BTreeMap<u64, Start> = BTreeMap::new();
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let inside = |at: u64| at >= section.address && at < section.address + section.size;
        for symbol in self.linked.elf.symbols.iter().filter(|s| s.is_defined() && s.reserved == 0) {
            if matches!(symbol.kind, STT_FILE | STT_TLS) || !inside(symbol.value) || symbol.name.is_empty() {
                continue;
            }
            let start = starts.entry(symbol.value).or_default();
            if is_function(symbol.kind) && symbol.size > 0 {
                start.end = start.end.max(Some(symbol.value + symbol.size));
            }
        }
        for c in self.linked.map.contributions.iter().filter(|c| c.size > 0 && inside(c.address)) {
            starts.entry(c.address).or_default().object = true;
            ends.insert(c.address, c.address + c.size);
        }
        let mut runs = Vec::new();
        // The end of what is known up to here; none where something without a size began.
        let (mut known, mut object) = (None, None);
        for (at, start) in &starts {
            let from = if start.object { object.or(known) } else { known };
            runs.extend(from.filter(|from| from < at).map(|from| from..*at));
            if start.object {
                object = ends.get(at).copied();
                known = None;
            }
            // A label inside a function changes nothing.
            let within = known.is_some_and(|end| *at < end) && start.end.is_none();
            known = if within { known } else { start.end.max(known.filter(|end| at < end)) };
            // What a compiler puts before a function on request belongs to its object, and begins it.
            if start.object && start.end.is_none() && self.is_only_nops(*at, &starts) {
                known = Some(*at);
            }
        }
        runs.retain(|run| run.end - run.start <= LONGEST && self.is_padding(run));
        runs
    }

    /// Does an object's code begin with single `nop`s up to its first function
    /// (`-fpatchable-function-entry=N,M`)?
    fn is_only_nops(&self, at: u64, starts: &BTreeMap<u64, Start>) -> bool {
        let Some((next, start)) = starts.range(at + 1..).next() else { return false };
        let bytes = self.target.elf.bytes_from(at);
        let bytes = usize::try_from(next - at).ok().and_then(|length| bytes.get(..length));
        start.end.is_some() && bytes.is_some_and(|bytes| self.target.machine.is_patchable_entry(bytes))
    }

    /// Are these bytes of the target nothing but fillers?
    fn is_padding(&self, run: &Range<u64>) -> bool {
        let bytes = self.target.elf.bytes_from(run.start);
        let Some(bytes) = usize::try_from(run.end - run.start).ok().and_then(|length| bytes.get(..length))
        else {
            return false;
        };
        self.target.machine.is_padding(bytes, run.start)
    }

    /// May anything of the target lead to the bytes of the jump at `at`? What is in the padding `runs` itself
    /// does not count.
    fn is_led_to(&self, at: u64, runs: &[Range<u64>]) -> bool {
        let hit = at..at + self.jump();
        let counts = |field: u64| !runs.iter().any(|run| run.contains(&field));
        let code = self.target.elf.sections.iter().filter(|s| s.flags & SHF_EXECINSTR != 0);
        let machine = self.target.machine;
        if code.into_iter().any(|s| machine.leads_to(self.target.elf.content(s), s.address, &hit, &counts)) {
            return true;
        }
        let relocations = self.target.elf.sections.iter().filter(|s| s.kind == SHT_RELA);
        let mut addends = relocations.flat_map(|s| self.target.elf.relocations(s));
        addends.any(|r| r.symbol == 0 && hit.contains(&r.addend.cast_unsigned()))
    }
}

/// Contents of the sections with code, by their addresses.
fn code<'a>(elf: &ElfFile<'a>) -> Vec<(u64, &'a [u8])> {
    elf.sections
        .iter()
        .filter(|s| s.flags & SHF_EXECINSTR != 0)
        .map(|s| (s.address, elf.content(s)))
        .collect()
}

/// Where in a run the jump may stand. Not at its first byte where there is another place: a function that
/// never returns may end with a call, and then that is a return address.
fn places(run: Range<u64>, jump: u64) -> impl Iterator<Item = u64> {
    let last = run.end.checked_sub(jump).filter(|last| *last >= run.start);
    let first = last.map_or(1, |last| (run.start + 1).min(last));
    first..last.map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_of_a_run_is_the_last_choice() {
        assert_eq!(places(10..15, 5).collect::<Vec<_>>(), [10]);
        assert_eq!(places(10..17, 5).collect::<Vec<_>>(), [11, 12]);
        assert_eq!(places(10..14, 5).count(), 0);
    }
}
