//! Slices of the kernel's tables: the entries that are about shipped code, one section for each table.

use super::record::append;
use super::symbols::Symbols;
use crate::atoms::Atoms;
use crate::attached::Records;
use crate::kernel::{Handling, Table};
use crate::model::{PatchObject, PatchSection, SectionKind};
use crate::record_kind::RecordKind;
use crate::verdict::Verdict;

pub(super) fn ship(
    all: &Atoms,
    records: &Records,
    table: &'static Table,
    shipped: &[usize],
    symbols: &mut Symbols<'_>,
    verdict: &mut Verdict,
    out: &mut PatchObject,
) -> Option<()> {
    let mut slice: Option<PatchSection> = None;
    for &id in shipped {
        for entry in records.of(id, RecordKind::Table(table)) {
            let section = &all.unit.sections[entry.section];
            if let Handling::Refuse(what, why, remedy) = table.handling {
                let place = format!("{} ({}), {}", all.name(id), out.source_file, section.name);
                verdict.refuse(what, place, why, remedy);
                continue;
            }
            let slice = slice.get_or_insert_with(|| PatchSection {
                name: section.name.to_string(),
                kind: SectionKind::Table,
                align: section.align.max(1),
                data: Vec::new(),
                size: 0,
                flags: section.flags,
                relocations: Vec::new(),
            });
            let start = append(all, entry, symbols, slice, out)?;
            for r in &entry.refs {
                // A relocated field holds nothing of its own (RELA).
                let from = usize::try_from(start + r.at).ok()?;
                slice.data.get_mut(from..from + usize::from(r.width))?.fill(0);
            }
        }
    }
    if let Some(mut slice) = slice {
        slice.size = slice.data.len() as u64;
        out.sections.push(slice);
    }
    Some(())
}
