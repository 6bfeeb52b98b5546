//! Puts together what has to be shipped.

mod call_frames;
mod reach;
mod record;
mod symbols;
mod tables;

use crate::atoms::{AtomContent, AtomKind, Atoms, Ref};
use crate::attached::Records;
use crate::correlate::Pairs;
use crate::model::{Extent, Extents, PatchObject, PatchSection, Relocation, SectionKind};
use crate::record_kind::RecordKind;
use crate::unit::{SHF_EXECINSTR, SHF_MERGE, SHF_STRINGS, SHF_TLS, SHF_WRITE};
use crate::verdict::Verdict;

/// Makes the patch object; `None` with a refusal added when something cannot be shipped.
pub(crate) fn extract(
    old: &Atoms,
    new: &Atoms,
    records: &Records,
    pairs: &Pairs,
    merged: &[String],
    verdict: &mut Verdict,
    source_file: &str,
) -> Option<(PatchObject, Extents)> {
    let merged = |id: usize| pairs.old_of[id].is_some_and(|o| merged.iter().any(|name| name == old.name(o)));
    let shipped = reach::reach(old, new, records, pairs, &merged, verdict, source_file);
    let mut out = PatchObject {
        machine: new.unit.machine,
        source_file: source_file.to_owned(),
        sections: Vec::new(),
        symbols: Vec::new(),
    };
    let mut symbols = symbols::Symbols::new(old, new, pairs);
    for &id in &shipped {
        symbols.define(id, out.sections.len(), verdict, &mut out.symbols);
        out.sections.push(section(new, id));
    }
    for (index, &id) in shipped.iter().enumerate() {
        for r in &new.atom(id).refs {
            let is_short = r.resolved && r.width < 4;
            let widened = if is_short { widen(new, id, &mut out.sections[index], r) } else { None };
            if is_short && widened.is_none() {
                verdict.refuse(
                    "short jump out of a function",
                    format!("{} ({source_file})", new.name(id)),
                    "the jump is too short to reach its target from elsewhere",
                    "put the two functions into sections of their own",
                );
                return None;
            }
            let Some((symbol, base)) = symbols.of(r.target, &mut out.symbols) else {
                verdict.refuse(
                    "reference that cannot be shipped",
                    format!("{} ({source_file})", new.name(id)),
                    "what it refers to has no counterpart in the original unit",
                    "report this with both objects",
                );
                return None;
            };
            out.sections[index].relocations.push(Relocation {
                offset: new.atom(id).padding + r.at,
                r_type: r.r_type,
                symbol,
                addend: base + widened.unwrap_or(r.bias),
                is_branch: r.is_branch,
            });
        }
    }
    for kind in RecordKind::all() {
        match kind {
            RecordKind::CallFrames => {
                call_frames::ship(new, records, &shipped, &mut symbols, verdict, &mut out)?;
            }
            RecordKind::Table(table) => {
                tables::ship(new, records, table, &shipped, &mut symbols, verdict, &mut out)?;
            }
        }
    }
    let extents = Extents {
        shipped: shipped.iter().map(|&id| extent(new, id)).collect(),
        kept: kept(old, new, pairs, &shipped),
    };
    Some((out, extents))
}

fn extent(all: &Atoms, id: usize) -> Extent {
    let atom = all.atom(id);
    Extent { section: atom.section, start: atom.start, end: atom.end }
}

/// Data that both units have and that stays in the program's memory. A thread-local variable has no address,
/// so it is left out.
fn kept(old: &Atoms, new: &Atoms, pairs: &Pairs, shipped: &[usize]) -> Vec<(Extent, String)> {
    let stays = |id: &usize| {
        new.atom(*id).kind == AtomKind::Object
            && !new.section(*id).has(SHF_TLS)
            && shipped.binary_search(id).is_err()
    };
    let pair = |id| Some((extent(new, id), old.name(pairs.old_of[id]?).to_owned()));
    (0..new.atoms.len()).filter(stays).filter_map(pair).collect()
}

/// Makes a jump long if it is too short to reach another section. Compilers put thunks of virtual functions
/// beside the function that they lead to, and such thunks end with a short jump. Gives the addend for the
/// target.
fn widen(all: &Atoms, id: usize, section: &mut PatchSection, r: &Ref) -> Option<i64> {
    let addend = if r.is_branch {
        all.arch.widen_jump(&mut section.data, all.atom(id).padding + r.at)?
    } else {
        return None;
    };
    section.size = section.data.len() as u64;
    Some(addend)
}

fn section(all: &Atoms, id: usize) -> PatchSection {
    let (atom, section) = (all.atom(id), all.section(id));
    let absolute = || {
        atom.refs
            .iter()
            .any(|r| all.arch.relocation(r.r_type).is_some_and(|t| !t.is_pc_relative() && t.width == 8))
    };
    let is_table = section.is_text() && atom.nature == AtomContent::Data;
    let kind = if is_table {
        SectionKind::Rodata
    } else if section.is_text() {
        SectionKind::Text
    } else if section.is_lsda() {
        SectionKind::Lsda
    } else if section.has(SHF_TLS) {
        SectionKind::Tls
    } else if section.is_relro() || (section.is_read_only() && absolute()) {
        SectionKind::RelRo
    } else if section.is_read_only() {
        SectionKind::Rodata
    } else if section.is_nobits() {
        SectionKind::Bss
    } else {
        SectionKind::Data
    };
    // A piece from the middle of a section keeps the alignment that its offset there gives.
    let start = atom.start - atom.padding;
    let align = if start == 0 { section.align } else { section.align.min(1 << start.trailing_zeros()) };
    let mut data = all.bytes_with_padding(id).to_vec();
    for r in &atom.refs {
        // A relocated field holds nothing of its own (RELA). To a field that the assembler resolved the
        // linker would add the value once more.
        let from = usize::try_from(atom.padding + r.at).unwrap_or(usize::MAX);
        if let Some(field) = data.get_mut(from..from.saturating_add(usize::from(r.width))) {
            field.fill(0);
        }
    }
    let writable = section.is_relro() || !section.is_read_only();
    let shed = SHF_MERGE
        | SHF_STRINGS
        | if writable { 0 } else { SHF_WRITE }
        | if is_table { SHF_EXECINSTR } else { 0 };
    PatchSection {
        name: section.name.to_string(),
        kind,
        align,
        data,
        size: atom.padding + atom.size(),
        flags: section.flags & !shed,
        relocations: Vec::new(),
    }
}
