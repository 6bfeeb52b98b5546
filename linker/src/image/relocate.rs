//! Turns the relocations of a patch object into fields of the image (x86-64 psABI, 4.4).

use differ::{Refusal, Relocation, SectionKind, SymbolPlace};
use patchfile::image::RelocationKind;

use crate::arch::x86_64::reloc_types as r;
use crate::chunks::chunk::{Fixup, Place};
use crate::chunks::pool::Pieces;
use crate::error::refusal;
use crate::image::asked_where::{self, Formed};
use crate::image::far_data;
use crate::image::inside;
use crate::image::resolve::{Resolved, Resolver, Unit};
use crate::image::tls;

/// Where a relocation is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) chunk: usize,
    pub(crate) kind: SectionKind,
    pub(crate) unit: &'a str,
    pub(crate) section: &'a str,
}

impl Site<'_> {
    fn text(&self, offset: u64) -> String {
        format!("{}+{offset:#x} ({})", self.section, self.unit)
    }

    pub(crate) fn refuse(
        &self,
        what: &str,
        reloc: &Relocation,
        why: impl Into<String>,
        remedy: &str,
    ) -> Refusal {
        refusal(what, self.text(reloc.offset), why, remedy)
    }
}

/// Relocates one section of a unit; refusals are added to `refused`.
pub(crate) fn section(
    resolver: &Resolver<'_, '_>,
    units: &[Unit<'_>],
    unit: usize,
    index: usize,
    pieces: &mut Pieces,
    refused: &mut Vec<Refusal>,
) {
    let owner = &units[unit];
    let (Some(section), Some(&chunk)) = (owner.patch.sections.get(index), owner.chunks.get(index)) else {
        return;
    };
    let site = Site { chunk, kind: section.kind, unit: owner.name, section: &section.name };
    // The call of __tls_get_addr goes away with the sequence that it ends.
    let mut dropped: Option<u64> = None;
    let mut formed = Formed::new();
    for reloc in &section.relocations {
        if dropped.take_if(|at| *at == reloc.offset).is_some() {
            continue;
        }
        if site.kind == SectionKind::EhFrame
            && reloc.r_type == r::PC32
            && let Some(to) = own_code(owner, reloc)
        {
            // A record describes its own unit's code, also where another unit's copy of the function is the one in force.
            let fixup = Fixup { offset: reloc.offset, kind: RelocationKind::Pc32, to, addend: reloc.addend };
            pieces.chunks[chunk].fixups.push(fixup);
            continue;
        }
        let done = resolver.resolve(units, unit, entry_symbol(owner, section.kind, reloc), pieces).and_then(
            |mut symbol| {
                if let Some(place) = inside(owner, section.kind, reloc) {
                    symbol.address = place;
                    symbol.call = place;
                    symbol.slot = None;
                }
                if site.kind == SectionKind::Text {
                    asked_where::look(site, reloc, &symbol, &mut formed, pieces)?;
                }
                one(resolver, site, reloc, &symbol, pieces)
            },
        );
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

/// A place inside a shipped function, not its entry: the label of a jump table or of a computed goto. It is in the new code, although the
/// function's address as a value is the old one.
fn inside(unit: &Unit<'_>, kind: SectionKind, reloc: &Relocation) -> Option<Place> {
    let symbol = unit.patch.symbols.get(reloc.symbol)?;
    let SymbolPlace::Defined { replaces: Some(_), .. } = &symbol.place else { return None };
    let label = match (kind, reloc.r_type) {
        // Entry n of a jump table is the label minus the table's address: the addend is the distance from the entry itself.
        (SectionKind::Rodata | SectionKind::RelRo | SectionKind::Data, r::PC32 | r::PC64) => true,
        (SectionKind::Text, r::PC32 | r::PLT32) => reloc.addend != -4,
        (SectionKind::EhFrame | SectionKind::Lsda, _) => false,
        (_, r::ABS64 | r::ABS32 | r::ABS32S) => reloc.addend != 0,
        _ => false,
    };
    own_code(unit, reloc).filter(|_| label)
}

/// The assembler may write `.text.f + 0` for `f`. Where that is the entry of a replaced function, the function is meant: its
/// address as a value is the old one.
fn entry_symbol(unit: &Unit<'_>, kind: SectionKind, reloc: &Relocation) -> usize {
    let Some(symbol) = unit.patch.symbols.get(reloc.symbol) else { return reloc.symbol };
    let SymbolPlace::Defined { section, offset, replaces: None, .. } = &symbol.place else {
        return reloc.symbol;
    };
    // An addend of a field in code counts from the next instruction; elsewhere only absolute words are pointers to functions.
    let shift = match (kind, reloc.r_type) {
        (SectionKind::Text, r::PC32 | r::PLT32) => 4,
        (SectionKind::EhFrame | SectionKind::Lsda, _) => return reloc.symbol,
        (_, r::ABS64 | r::ABS32 | r::ABS32S) => 0,
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

fn one(
    resolver: &Resolver<'_, '_>,
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    pieces: &mut Pieces,
) -> Result<Option<u64>, Refusal> {
    let addend = reloc.addend;
    let direct =
        matches!(reloc.r_type, r::PC32 | r::ABS32 | r::ABS32S) && !reloc.is_branch && symbol.tls.is_none();
    if direct
        && site.kind == SectionKind::Text
        && matches!(symbol.address, Place::Outside(_))
        && far_data::rewrite(site, reloc, symbol, pieces)?
    {
        return Ok(None);
    }
    let (kind, to) = match reloc.r_type {
        r::NONE => return Ok(None),
        r::TLSGD
        | r::TLSLD
        | r::DTPOFF32
        | r::DTPOFF64
        | r::GOTTPOFF
        | r::TPOFF32
        | r::TPOFF64
        | r::GOTPC32_TLSDESC
        | r::TLSDESC_CALL => return tls::relocate(resolver, site, reloc, symbol, pieces),
        _ if symbol.tls.is_some() => {
            let why = format!("{} refers to thread-local {}", r::name(reloc.r_type), symbol.name);
            return Err(site.refuse("unknown relocation", reloc, why, "report it"));
        }
        r::ABS64 => (RelocationKind::Abs64, symbol.address),
        r::PC64 => (RelocationKind::Pc64, symbol.address),
        r::ABS32 | r::ABS32S => {
            if !resolver.target.fixed() {
                let why = format!(
                    "{} to {} holds a 32-bit address, but the target may be loaded anywhere",
                    r::name(reloc.r_type),
                    symbol.name
                );
                return Err(site.refuse(
                    "position-dependent code",
                    reloc,
                    why,
                    "compile the unit with -fPIE or -fPIC",
                ));
            }
            let kind =
                if reloc.r_type == r::ABS32 { RelocationKind::Abs32 } else { RelocationKind::Abs32Signed };
            (kind, near(site, reloc, symbol, symbol.address, pieces)?)
        }
        r::PC32 | r::PLT32 => {
            let branch = reloc.is_branch || reloc.r_type == r::PLT32;
            let inside = if branch { inside::stub(resolver, site, reloc, symbol, pieces)? } else { None };
            let place = if branch { symbol.call } else { symbol.address };
            let place = inside.unwrap_or(place);
            (RelocationKind::Pc32, near(site, reloc, symbol, place, pieces)?)
        }
        r::GOTPCREL | r::GOTPCRELX | r::REX_GOTPCRELX => {
            let slot = match (inside::stub(resolver, site, reloc, symbol, pieces)?, symbol.slot) {
                (Some(stub), _) => pieces.words(&[(stub, 0)]),
                (None, Some(slot)) => Place::Target(slot),
                (None, None) => pieces.words(&[(symbol.address, 0)]),
            };
            (RelocationKind::Pc32, slot)
        }
        other => {
            let why = format!("{} to {} is not one this version knows", r::name(other), symbol.name);
            let remedy = "compile the unit with the usual code model (-mcmodel=small), or report it";
            return Err(site.refuse("unknown relocation", reloc, why, remedy));
        }
    };
    if let Some(chunk) = pieces.chunks.get_mut(site.chunk) {
        chunk.fixups.push(Fixup { offset: reloc.offset, kind, to, addend });
    }
    Ok(None)
}

/// A place within reach of a 32-bit field: a jump of the image stands for a function of another module.
fn near(
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    place: Place,
    pieces: &mut Pieces,
) -> Result<Place, Refusal> {
    match place {
        Place::Outside(_) if symbol.function || reloc.is_branch || reloc.r_type == r::PLT32 => {
            Ok(pieces.branch_target(place))
        }
        Place::Outside(_) => Err(site.refuse(
            "object of a library reached directly",
            reloc,
            format!(
                "{} is in a library, and the target has no copy of it; the code expects it within 2 GiB",
                symbol.name
            ),
            "compile the unit with -fPIC, so that it goes through a table",
        )),
        // A weak function that is nowhere: code tests its address first.
        Place::Constant(_) if reloc.is_branch => Ok(pieces.branch_target(place)),
        Place::Constant(_) if matches!(reloc.r_type, r::PC32 | r::PLT32) => Err(site.refuse(
            "absolute symbol reached relative to code",
            reloc,
            format!("{} has a fixed value, which relocated code cannot form this way", symbol.name),
            "compile the unit with -fPIC",
        )),
        near => Ok(near),
    }
}
