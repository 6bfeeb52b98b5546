//! Functions of the target that end with a jump to one that asks for its caller: it sees who called them.

use std::collections::{HashMap, HashSet};

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};

use super::target::TargetElf;

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
    let mut jumps: HashMap<u64, Vec<u64>> = HashMap::new();
    for (from, to) in target.machine.jumps(&target.elf) {
        jumps.entry(to).or_default().push(from);
    }
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
