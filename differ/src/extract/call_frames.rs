//! `.eh_frame` of the shipped code: its FDEs and their CIEs, nothing else, and no terminator.

use std::collections::HashMap;

use super::record::append;
use super::symbols::Symbols;
use crate::atoms::Atoms;
use crate::attached::{BEGIN, Record, Records};
use crate::model::{PatchObject, PatchSection, SectionKind};
use crate::record_kind::RecordKind;
use crate::unit::SHF_ALLOC;
use crate::verdict::Verdict;

pub(super) fn ship(
    all: &Atoms,
    records: &Records,
    shipped: &[usize],
    symbols: &mut Symbols<'_>,
    verdict: &mut Verdict,
    out: &mut PatchObject,
) -> Option<()> {
    let mut section = PatchSection {
        name: ".eh_frame".into(),
        kind: SectionKind::EhFrame,
        align: 8,
        data: Vec::new(),
        size: 0,
        flags: SHF_ALLOC,
        relocations: Vec::new(),
    };
    let mut cies: HashMap<usize, usize> = HashMap::new();
    for &id in shipped {
        if !all.section(id).is_text() {
            continue;
        }
        let mut own = records.of(id, RecordKind::CallFrames).peekable();
        if own.peek().is_none() && all.profile.unwinds_by_call_frames() {
            verdict.warnings.push(crate::model::Warning {
                what: "no unwind information".into(),
                place: format!("{} ({})", all.name(id), out.source_file),
                why: "a stack with this function on it is searched for addresses instead of being walked: \
                      taking the patch out may have to wait"
                    .into(),
            });
        }
        for entry in own {
            if reaches_beyond(all, id, entry) {
                verdict.refuse(
                    "unwind entry for more than one function",
                    format!("{} ({})", all.name(id), out.source_file),
                    "its range goes beyond the function",
                    "give each function its own .cfi_startproc and .cfi_endproc",
                );
                return None;
            }
            let cie = entry.common?;
            let next = section.data.len();
            let cie_start = *cies.entry(cie).or_insert(next);
            if cie_start == next {
                append(all, records.all.get(cie)?, symbols, &mut section, out)?;
            }
            let start = section.data.len();
            append(all, entry, symbols, &mut section, out)?;
            let back = u32::try_from(start + 4 - cie_start).ok()?;
            section.data.get_mut(start + 4..start + 8)?.copy_from_slice(&back.to_le_bytes());
        }
    }
    if !section.data.is_empty() {
        section.size = section.data.len() as u64;
        out.sections.push(section);
    }
    Some(())
}

/// Whether the FDE's range ends behind the atom. `pc_range` follows `pc_begin` and has its width.
fn reaches_beyond(all: &Atoms, id: usize, entry: &Record) -> bool {
    let Some(begin) = entry.refs.iter().find(|r| r.at == BEGIN) else { return true };
    let Ok(at) = usize::try_from(begin.at) else { return true };
    let from = entry.start + at + usize::from(begin.width);
    let field = all.unit.sections[entry.section].data.get(from..from + usize::from(begin.width));
    let range = field.map(|bytes| bytes.iter().rev().fold(0_u64, |value, &b| value << 8 | u64::from(b)));
    let crate::atoms::Target::Atom { offset, .. } = begin.target else { return true };
    range.is_none_or(|range| offset.cast_unsigned().saturating_add(range) > all.atom(id).size())
}
