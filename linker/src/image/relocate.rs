//! Turns the relocations of a patch object into fields of the image. What each type means on a machine is in
//! the machine's folder.

use differ::arch::{Computes, RelocationType};
use differ::{Refusal, Relocation, SectionKind, SymbolPlace};
use patchfile::image::RelocationKind;

use super::caller_module::CallerModule;
use super::dladdr::{self, Formed};
use super::inputs::Unit;
use super::resolve::Resolver;
use crate::arch::{Machine, Site, Surroundings};
use crate::chunks::{Chunks, Fixup, Place, Resolved};

/// Relocates one section of a unit; refusals are added to `refused`.
pub(crate) fn section(
    resolver: &Resolver<'_, '_>,
    calls: &CallerModule,
    unit: usize,
    index: usize,
    chunks: &mut Chunks,
    refused: &mut Vec<Refusal>,
) {
    let inputs = resolver.inputs;
    let (owner, machine, target) = (&inputs.units[unit], inputs.machine, inputs.target);
    let (Some(section), Some(&chunk)) = (owner.patch.sections.get(index), owner.chunks.get(index)) else {
        return;
    };
    let site = Site { chunk, kind: section.kind, unit: owner.name, section: &section.name };
    let through_target = |reloc: &Relocation, symbol: &Resolved, chunks: &mut Chunks| {
        calls.stub(inputs, site, reloc, symbol, chunks)
    };
    let around = Surroundings {
        executable: target.executable,
        fixed: target.fixed(),
        tls: target.tls(),
        own_module: target.own_module,
        getter: resolver.new_tls.getter,
        base: resolver.new_tls.base(chunk),
        through_target: &through_target,
    };
    // The call of __tls_get_addr goes away with the sequence that it ends.
    let mut dropped: Option<u64> = None;
    let mut formed = Formed::new();
    for reloc in &section.relocations {
        if dropped.take_if(|at| *at == reloc.offset).is_some() {
            continue;
        }
        if site.kind == SectionKind::EhFrame
            && is_distance(machine, reloc, &[4])
            && let Some(to) = own_code(owner, reloc)
        {
            // A record describes its own unit's code, also where another unit's copy of the function is the
            // one in force.
            let fixup = Fixup { offset: reloc.offset, kind: RelocationKind::Pc32, to, addend: reloc.addend };
            if let Some(chunk) = chunks.chunks.get_mut(chunk) {
                chunk.fixups.push(fixup);
            }
            continue;
        }
        let done = resolver
            .resolve(unit, entry_symbol(machine, owner, section.kind, reloc), chunks)
            .and_then(|mut symbol| {
                if let Some(place) = inside(machine, owner, section.kind, reloc) {
                    symbol.address = place;
                    symbol.call = place;
                    symbol.slot = None;
                }
                if site.kind == SectionKind::Text {
                    dladdr::look(machine, site, reloc, &symbol, &mut formed, chunks)?;
                }
                if !matches!(site.kind, SectionKind::EhFrame | SectionKind::Lsda) {
                    calls.pointer(inputs, site, reloc, &mut symbol, chunks)?;
                }
                machine.relocate(&around, site, reloc, &symbol, chunks)
            });
        match done {
            Ok(skip) => dropped = skip,
            Err(refusal) if refused.contains(&refusal) => {}
            Err(refusal) => refused.push(refusal),
        }
    }
}

/// Place of a symbol that is defined in the unit's own shipped code or language-specific data.
fn own_code(unit: &Unit<'_>, reloc: &Relocation) -> Option<Place> {
    let SymbolPlace::Defined { section, offset, .. } = &unit.patch.symbols.get(reloc.symbol)?.place else {
        return None;
    };
    let kind = unit.patch.sections.get(*section)?.kind;
    let chunk = *unit.chunks.get(*section)?;
    matches!(kind, SectionKind::Text | SectionKind::Lsda).then_some(Place::Chunk { chunk, offset: *offset })
}

/// A place inside a shipped function, not its entry: the label of a jump table or of a computed goto. It is
/// in the new code, although the function's address as a value is the old one.
fn inside(machine: &dyn Machine, unit: &Unit<'_>, kind: SectionKind, reloc: &Relocation) -> Option<Place> {
    let symbol = unit.patch.symbols.get(reloc.symbol)?;
    let SymbolPlace::Defined { replaces: Some(_), .. } = &symbol.place else { return None };
    let facts = machine.relocation(reloc.r_type)?;
    let label = match kind {
        SectionKind::EhFrame | SectionKind::Lsda => false,
        // Entry n of a jump table is the label minus the table's address: the addend is the distance from the
        // entry itself.
        SectionKind::Rodata | SectionKind::RelRo | SectionKind::Data
            if is_distance(machine, reloc, &[4, 8]) && facts.computes == Computes::Address =>
        {
            true
        }
        SectionKind::Text if is_distance(machine, reloc, &[4]) => reloc.addend.wrapping_add(bias(facts)) != 0,
        _ => is_address(facts) && reloc.addend != 0,
    };
    own_code(unit, reloc).filter(|_| label)
}

/// The assembler may write `.text.f + 0` for `f`. Where that is the entry of a replaced function, the
/// function is meant: its address as a value is the old one.
fn entry_symbol(machine: &dyn Machine, unit: &Unit<'_>, kind: SectionKind, reloc: &Relocation) -> usize {
    let Some(symbol) = unit.patch.symbols.get(reloc.symbol) else { return reloc.symbol };
    let SymbolPlace::Defined { section, offset, replaces: None, .. } = &symbol.place else {
        return reloc.symbol;
    };
    // An addend of a field in code counts from the next instruction; elsewhere only absolute words are
    // pointers to functions.
    let Some(facts) = machine.relocation(reloc.r_type) else { return reloc.symbol };
    let shift = match kind {
        SectionKind::EhFrame | SectionKind::Lsda => return reloc.symbol,
        SectionKind::Text if is_distance(machine, reloc, &[4]) => bias(facts),
        _ if is_address(facts) => 0,
        _ => return reloc.symbol,
    };
    if reloc.addend.wrapping_add(shift) != 0 {
        return reloc.symbol;
    }
    let same = |s: &differ::PatchSymbol| {
        matches!(&s.place, SymbolPlace::Defined { section: sec, offset: off, replaces: Some(_), .. }
            if sec == section && off == offset)
    };
    unit.patch.symbols.iter().position(same).unwrap_or(reloc.symbol)
}

/// Is it a distance from the field, or from the next instruction, to a symbol or to what calls of it go to,
/// of so many bytes?
fn is_distance(machine: &dyn Machine, reloc: &Relocation, widths: &[u8]) -> bool {
    machine.relocation(reloc.r_type).is_some_and(|t| {
        t.is_pc_relative()
            && matches!(t.computes, Computes::Address | Computes::Call)
            && widths.contains(&t.width)
    })
}

/// Is it the address of a symbol, of 32 or 64 bits?
fn is_address(facts: &RelocationType) -> bool {
    facts.computes == Computes::Address && !facts.is_pc_relative() && matches!(facts.width, 4 | 8)
}

/// Distance from the field to the address from which the processor counts.
fn bias(facts: &RelocationType) -> i64 {
    facts.pc_bias.unwrap_or(0).into()
}
