//! Where an image goes: near enough to its module for the jumps between them.

use crate::{
    arch::FACTS,
    engine::target::{maps::Mapping, modules::Module},
};

/// What jumps reach; something is kept back for addends beyond the module's ends.
const REACH: u64 = FACTS.reach - (1 << 20);
/// Lowest address used: `vm.mmap_min_addr` as distributions set it.
const LOWEST: u64 = 1 << 16;
/// End of user addresses.
const HIGHEST: u64 = FACTS.address_end - FACTS.page;

/// A free range of `size` bytes such that image and module lie within one reach. The highest one below the
/// module: what grows (the heap above a program, stacks) grows elsewhere. Above the module, as far from it as
/// possible. `taken` are ranges that will be in use though they are not in `maps` yet.
pub(crate) fn find_gap(maps: &[Mapping], taken: &[(u64, u64)], module: &Module, size: u64) -> Option<u64> {
    let mut used: Vec<(u64, u64)> =
        maps.iter().map(|m| (m.start, m.end)).chain(taken.iter().copied()).collect();
    used.sort_unstable();
    let top = if module.fixed { REACH } else { HIGHEST };
    let (low, high) =
        (module.end.saturating_sub(REACH).max(LOWEST), module.start.saturating_add(REACH).min(top));
    let mut gaps = Vec::new();
    let mut end = LOWEST;
    for (start, next) in used.into_iter().chain([(HIGHEST, HIGHEST)]) {
        if start > end {
            gaps.push((end.max(low), start.min(high)));
        }
        end = end.max(next);
    }
    // The stack's gap below, which the kernel keeps for its growth, is not in the map: gaps that end at a
    // growing stack are never the nearest below a module.
    let fits = |gap: &&(u64, u64)| gap.1 > gap.0 && gap.1 - gap.0 >= size;
    let below = gaps.iter().rev().filter(|g| g.1 <= module.start).find(fits);
    let above = || gaps.iter().rev().filter(|g| g.0 >= module.end).find(fits);
    below.or_else(above).map(|gap| (gap.1 - size) & !(FACTS.page - 1))
}

/// A free range of `size` bytes anywhere: in the middle of the largest gap, where nothing grows to.
pub(crate) fn find_anywhere(maps: &[Mapping], taken: &[(u64, u64)], size: u64) -> Option<u64> {
    let mut used: Vec<(u64, u64)> =
        maps.iter().map(|m| (m.start, m.end)).chain(taken.iter().copied()).collect();
    used.sort_unstable();
    let ends = used.iter().map(|(_, end)| *end);
    let starts = used.iter().map(|(start, _)| *start).chain([HIGHEST]);
    let gaps = std::iter::once(LOWEST).chain(ends).zip(starts).filter(|(end, start)| end < start);
    let (start, end) = gaps.max_by_key(|(start, end)| end.min(&HIGHEST).saturating_sub(*start))?;
    let free = end.min(HIGHEST).checked_sub(start)?.checked_sub(size)?;
    Some((start + free / 2) & !(FACTS.page - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64) -> Mapping {
        Mapping {
            start,
            end,
            read: true,
            write: false,
            execute: false,
            shared: false,
            offset: 0,
            device: 0,
            inode: 0,
            name: String::new(),
            replaced: false,
        }
    }

    fn module(start: u64, end: u64, fixed: bool) -> Module {
        Module {
            path: String::new(),
            file: (0, 0),
            start,
            end,
            bias: 0,
            fixed,
            machine: 62,
            entry: 0,
            segments: Vec::new(),
        }
    }

    #[test]
    fn just_below_the_module() {
        let maps = [mapping(0x5555_0000_0000, 0x5555_0001_0000), mapping(0x7fff_0000_0000, 0x7fff_0001_0000)];
        let module = module(0x5555_0000_0000, 0x5555_0001_0000, false);
        assert_eq!(find_gap(&maps, &[], &module, 0x4000), Some(0x5554_ffff_c000));
        let taken = [(0x5554_ffff_c000, 0x5555_0000_0000)];
        assert_eq!(find_gap(&maps, &taken, &module, 0x4000), Some(0x5554_ffff_8000));
    }

    #[test]
    fn fixed_program_stays_below_two_gigabytes() {
        let maps = [mapping(0x40_0000, 0x50_0000), mapping(0x7f00_0000_0000, 0x7f00_0001_0000)];
        let module = module(0x40_0000, 0x50_0000, true);
        assert_eq!(find_gap(&maps, &[], &module, 0x4000), Some(0x3f_c000));
        let large = find_gap(&maps, &[], &module, 0x80_0000).unwrap();
        assert!(large > 0x50_0000 && large + 0x80_0000 <= REACH);
    }

    #[test]
    fn anywhere_is_far_from_everything() {
        let maps = [mapping(0x40_0000, 0x50_0000), mapping(0x7f00_0000_0000, HIGHEST)];
        let found = find_anywhere(&maps, &[], 0x2000).unwrap();
        assert!(found > 1 << 40 && found < 0x7e00_0000_0000 && found.is_multiple_of(FACTS.page));
        assert_eq!(find_anywhere(&[mapping(LOWEST, HIGHEST)], &[], FACTS.page), None);
        let vsyscall = mapping(0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000);
        assert_eq!(find_anywhere(&[maps[0].clone(), maps[1].clone(), vsyscall], &[], 0x2000), Some(found));
    }

    #[test]
    fn nothing_within_reach() {
        let start = 0x7f00_0000_0000;
        let maps = [mapping(start - (4 << 30), start + (4 << 30))];
        assert_eq!(find_gap(&maps, &[], &module(start, start + 0x1000, false), 0x1000), None);
    }
}
