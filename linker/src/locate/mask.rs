//! Compares the bytes of an object's section with those of the linked file, without what the linker fills in
//! or relaxes.

use std::ops::Range;

use crate::arch::Machine;
use crate::elf::Rela;

/// The bytes that the linker may change for this relocation: of a reference that it may relax also parts of
/// the instruction.
pub(crate) fn window(machine: &dyn Machine, rela: &Rela) -> Range<u64> {
    // Four bytes, where the type is not known: as most have.
    let (before, after) =
        machine.relocation(rela.kind).map_or((0, 4), |t| (t.rewrites.before, t.rewrites.after));
    rela.offset.saturating_sub(before.into())..rela.offset.saturating_add(after.into())
}

/// Fields that the linker may change, in ascending order.
pub(crate) fn fields(machine: &dyn Machine, relocations: &[Rela]) -> Vec<Range<u64>> {
    let mut fields: Vec<Range<u64>> = relocations.iter().map(|rela| window(machine, rela)).collect();
    fields.sort_by_key(|f| f.start);
    fields
}

/// Is `content` at the start of `linked`, `fields` aside?
pub(crate) fn same(content: &[u8], linked: &[u8], fields: &[Range<u64>]) -> bool {
    let Some(linked) = linked.get(..content.len()) else { return false };
    let mut at = 0usize;
    for field in fields {
        let start = usize::try_from(field.start).unwrap_or(usize::MAX).min(content.len());
        if start > at && content[at..start] != linked[at..start] {
            return false;
        }
        at = at.max(usize::try_from(field.end).unwrap_or(usize::MAX).min(content.len()));
    }
    content[at..] == linked[at..]
}
