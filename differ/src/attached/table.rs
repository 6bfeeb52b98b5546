//! A table of the kernel, entry by entry. The first field of an entry leads to the code that it is about.

use super::records::{Record, Records, reference};
use crate::atoms::{Atoms, Target};
use crate::error::Error;
use crate::kernel::{self, ALTERNATIVES, Table};
use crate::record_kind::RecordKind;

pub(super) fn read(
    all: &Atoms,
    index: usize,
    table: &'static Table,
    records: &mut Records,
) -> Result<(), Error> {
    let section = &all.unit.sections[index];
    let Some(layout) = kernel::layout(table, section, &all.kernel.entry_sizes) else {
        return Err(Error::Unsupported {
            what: format!(
                "entries of another size than known ones ({} bytes, {} relocations)",
                section.size,
                section.relocs.len()
            ),
            place: format!("{} of the {} object", section.name, all.unit.side),
        });
    };
    let mut of_atom: Vec<(usize, i64, usize)> = Vec::new();
    let mut relocs = section.relocs.iter().filter(|r| r.r_type != 0).peekable();
    for start in (0..section.data.len()).step_by(layout.size) {
        let end = start + layout.size;
        let byte = section.data.get(start + layout.replacement_length);
        let is_empty = table.section == ALTERNATIVES && byte == Some(&0);
        let mut refs = Vec::new();
        while let Some(r) = relocs.next_if(|r| r.offset < end as u64) {
            // A replacement of no bytes may seem to lead to that of another entry.
            if is_empty && r.offset > start as u64 {
                continue;
            }
            refs.push(reference(all, index, r, start as u64)?);
        }
        if let Some(Target::Atom { atom, offset }) = refs.first().map(|r| r.target) {
            of_atom.push((atom, offset, records.all.len()));
        }
        records.all.push(Record {
            kind: RecordKind::Table(table),
            section: index,
            start,
            end,
            passed_over: table.passed_over.clone(),
            common: None,
            refs,
        });
    }
    // The order in the section follows that of the functions; within a function, that of the code.
    of_atom.sort_by_key(|&(atom, offset, _)| (atom, offset));
    for (atom, _, record) in of_atom {
        records.of_atom[atom].push(record);
    }
    Ok(())
}
