//! Puts together what has to be shipped.

mod frames;
mod reach;
mod symbols;

use crate::arch::x86_64;
use crate::atoms::{AtomKind, Atoms, Ref};
use crate::correlate::Pairs;
use crate::eh_frame::Frames;
use crate::model::{Extent, Extents, PatchObject, PatchSection, Relocation, SectionKind};
use crate::unit::{SHF_MERGE, SHF_STRINGS, SHF_TLS, SHF_WRITE};
use crate::verdict::Verdict;

/// Makes the patch object; `None` with a refusal added when something cannot be shipped.
pub(crate) fn extract(
    old: &Atoms,
    new: &Atoms,
    frames: &Frames,
    pairs: &Pairs,
    merged: &[String],
    verdict: &mut Verdict,
    source_file: &str,
) -> Option<(PatchObject, Extents)> {
    let merged = |id: usize| pairs.old_of[id].is_some_and(|o| merged.iter().any(|name| name == old.name(o)));
    let shipped = reach::reach(new, frames, pairs, &merged, verdict, source_file);
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
            let widened = r.resolved && r.width < 4 && widen(&mut out.sections[index], r);
            if r.resolved && r.width < 4 && !widened {
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
                offset: r.at,
                r_type: r.r_type,
                symbol,
                addend: base + if widened { -4 } else { r.bias },
                is_branch: r.is_branch,
            });
        }
    }
    frames::ship(new, frames, &shipped, &mut symbols, verdict, &mut out)?;
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

/// Data that both units have, in the program's memory. Thread-local variables have no address.
fn kept(old: &Atoms, new: &Atoms, pairs: &Pairs, shipped: &[usize]) -> Vec<(Extent, String)> {
    let stays = |id: &usize| {
        new.atom(*id).kind == AtomKind::Object
            && !new.section(*id).has(SHF_TLS)
            && shipped.binary_search(id).is_err()
    };
    let pair = |id| Some((extent(new, id), old.name(pairs.old_of[id]?).to_owned()));
    (0..new.atoms.len()).filter(stays).filter_map(pair).collect()
}

/// Makes a short jump that is the last instruction of its section a long one: thunks of virtual functions, which the compiler puts beside
/// the function that they lead to, end so. Nothing else moves.
fn widen(section: &mut PatchSection, r: &Ref) -> bool {
    const JMP_SHORT: u8 = 0xeb;
    let Some(opcode) = r.at.checked_sub(1).and_then(|at| usize::try_from(at).ok()) else { return false };
    if !r.is_branch || opcode + 2 != section.data.len() || section.data.get(opcode) != Some(&JMP_SHORT) {
        return false;
    }
    section.data.truncate(opcode);
    section.data.extend_from_slice(&[0xe9, 0, 0, 0, 0]);
    section.size = section.data.len() as u64;
    true
}

fn section(all: &Atoms, id: usize) -> PatchSection {
    let (atom, section) = (all.atom(id), all.section(id));
    let absolute = || {
        atom.refs
            .iter()
            .any(|r| x86_64::in_object(r.r_type).is_some_and(|t| !t.is_pc_relative() && t.width == 8))
    };
    let kind = if section.is_text() {
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
    // A piece from the middle of a section keeps the alignment that its place there has.
    let align =
        if atom.start == 0 { section.align } else { section.align.min(1 << atom.start.trailing_zeros()) };
    let mut data = all.bytes(id).to_vec();
    for r in &atom.refs {
        // Relocated fields hold nothing of their own (RELA); those that the assembler resolved would be added to.
        let from = usize::try_from(r.at).unwrap_or(usize::MAX);
        if let Some(field) = data.get_mut(from..from.saturating_add(usize::from(r.width))) {
            field.fill(0);
        }
    }
    let writable = section.is_relro() || !section.is_read_only();
    let shed = SHF_MERGE | SHF_STRINGS | if writable { 0 } else { SHF_WRITE };
    PatchSection {
        name: section.name.to_string(),
        kind,
        align,
        data,
        size: atom.size(),
        flags: section.flags & !shed,
        relocations: Vec::new(),
    }
}
