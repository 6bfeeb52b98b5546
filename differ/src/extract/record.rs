//! One record of another section, put into the section that is shipped.

use super::symbols::Symbols;
use crate::atoms::Atoms;
use crate::attached::Record;
use crate::model::{PatchObject, PatchSection, Relocation};

/// Appends a record with its relocations to `section`. Gives the offset where it begins there.
pub(super) fn append(
    all: &Atoms,
    record: &Record,
    symbols: &mut Symbols<'_>,
    section: &mut PatchSection,
    out: &mut PatchObject,
) -> Option<u64> {
    let start = section.data.len() as u64;
    section.data.extend(record.content(all));
    for r in &record.refs {
        let (symbol, base) = symbols.of(r.target, &mut out.symbols)?;
        section.relocations.push(Relocation {
            offset: start + r.at,
            r_type: r.r_type,
            symbol,
            addend: base + r.bias,
            is_branch: false,
        });
    }
    Some(start)
}
