//! Functions of the target that end with a jump to one that asks for its caller: it sees who called them.

use std::collections::{HashMap, HashSet};

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};

use crate::elf::SHF_EXECINSTR;
use crate::image::target::TargetElf;

/// Addresses of all functions from which jumps lead to the imports `names`, through others too.
pub(crate) fn leading_to(target: &TargetElf<'_>, names: &[&str]) -> HashSet<u64> {
    let slots = names.iter().flat_map(|name| {
        let slots = target.slots(name);
        [slots.jump, slots.address].into_iter().flatten()
    });
    let slots: HashSet<u64> = slots.collect();
    let mut found = HashSet::new();
    if slots.is_empty() {
        return found;
    }
    let functions = functions(target);
    let holder = |address: u64| {
        let before = functions.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        functions.get(before).filter(|(start, size)| address - start < *size).map(|(start, _)| *start)
    };
    let jumps = jumps(target);
    let mut todo: Vec<u64> =
        slots.iter().copied().chain(slots.iter().filter_map(|s| target.plt_entry(*s))).collect();
    while let Some(to) = todo.pop() {
        for from in jumps.get(&to).into_iter().flatten().filter_map(|at| holder(*at)) {
            if found.insert(from) {
                todo.push(from);
            }
        }
    }
    found
}

/// Start and size of each function, by the unwind table, in ascending order.
fn functions(target: &TargetElf<'_>) -> Vec<(u64, u64)> {
    let Some(section) = target.elf.sections.iter().find(|s| s.name == ".eh_frame") else { return Vec::new() };
    let frames = EhFrame::new(target.elf.content(section), LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let mut functions = Vec::new();
    let mut entries = frames.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        if let Ok(fde) = partial.parse(|section, bases, at| section.cie_from_offset(bases, at)) {
            functions.push((fde.initial_address(), fde.len()));
        }
    }
    functions.sort_unstable();
    functions
}

/// What looks like `jmp to` or `jmp *to(%rip)`: the places of these, by `to`.
fn jumps(target: &TargetElf<'_>) -> HashMap<u64, Vec<u64>> {
    let mut jumps: HashMap<u64, Vec<u64>> = HashMap::new();
    // What stands for functions of other modules jumps there too.
    let code = target.elf.sections.iter().filter(|s| s.flags & SHF_EXECINSTR != 0);
    for section in code.filter(|s| !s.name.starts_with(".plt") && s.name != ".iplt") {
        let content = target.elf.content(section);
        let mut note = |at: usize, length: usize| {
            let field = content.get(at + length - 4..at + length).and_then(|b| b.try_into().ok());
            let Some(distance) = field.map(i32::from_le_bytes) else { return };
            let from = section.address + at as u64;
            let to = (from + length as u64).wrapping_add_signed(distance.into());
            jumps.entry(to).or_default().push(from);
        };
        memchr::memchr_iter(0xe9, content).for_each(|at| note(at, 5));
        memchr::memmem::find_iter(content, &[0xff, 0x25]).for_each(|at| note(at, 6));
    }
    jumps
}
