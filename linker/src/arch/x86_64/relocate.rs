//! Turns the relocations of a patch object into fields of the image (x86-64 psABI, 4.4).

use differ::{Refusal, Relocation, SectionKind};
use patchfile::image::RelocationKind;

use super::{E_MACHINE, far_data, r, tls};
use crate::arch::{Site, Surroundings};
use crate::chunks::{Chunks, Fixup, Place, Resolved};

fn name(kind: u32) -> String {
    differ::arch::relocation_name(E_MACHINE, kind)
}

/// Handles a relocation of any type.
pub(super) fn relocate(
    around: &Surroundings<'_>,
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    chunks: &mut Chunks,
) -> Result<Option<u64>, Refusal> {
    let addend = reloc.addend;
    let direct =
        matches!(reloc.r_type, r::PC32 | r::ABS32 | r::ABS32S) && !reloc.is_branch && symbol.tls.is_none();
    if direct
        && site.kind == SectionKind::Text
        && matches!(symbol.address, Place::Outside(_))
        && far_data::rewrite(site, reloc, symbol, chunks)?
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
        | r::TLSDESC_CALL => return tls::relocate(around, site, reloc, symbol, chunks),
        _ if symbol.tls.is_some() => {
            let why = format!("{} refers to thread-local {}", name(reloc.r_type), symbol.name);
            return Err(site.refuse("unknown relocation", reloc, why, "report it"));
        }
        r::ABS64 => (RelocationKind::Abs64, symbol.address),
        r::PC64 => (RelocationKind::Pc64, symbol.address),
        r::ABS32 | r::ABS32S => {
            if !around.fixed {
                let why = format!(
                    "{} to {} holds a 32-bit address, but the target may be loaded anywhere",
                    name(reloc.r_type),
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
            (kind, near(site, reloc, symbol, symbol.address, chunks)?)
        }
        r::PC32 | r::PLT32 => {
            let branch = reloc.is_branch || reloc.r_type == r::PLT32;
            let inside = if branch { (around.through_target)(reloc, symbol, chunks)? } else { None };
            let place = if branch { symbol.call } else { symbol.address };
            let place = inside.unwrap_or(place);
            (RelocationKind::Pc32, near(site, reloc, symbol, place, chunks)?)
        }
        r::GOTPCREL | r::GOTPCRELX | r::REX_GOTPCRELX => {
            let slot = match ((around.through_target)(reloc, symbol, chunks)?, symbol.slot) {
                (Some(stub), _) => chunks.words(&[(stub, 0)]),
                (None, Some(slot)) => Place::Target(slot),
                (None, None) => chunks.words(&[(symbol.address, 0)]),
            };
            (RelocationKind::Pc32, slot)
        }
        other => {
            let why = format!("{} to {} is not one this version knows", name(other), symbol.name);
            let remedy = "compile the unit with the usual code model (-mcmodel=small), or report it";
            return Err(site.refuse("unknown relocation", reloc, why, remedy));
        }
    };
    if let Some(chunk) = chunks.chunks.get_mut(site.chunk) {
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
    chunks: &mut Chunks,
) -> Result<Place, Refusal> {
    match place {
        Place::Outside(_) if symbol.function || reloc.is_branch || reloc.r_type == r::PLT32 => {
            Ok(chunks.branch_target(place))
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
        Place::Constant(_) if reloc.is_branch => Ok(chunks.branch_target(place)),
        Place::Constant(_) if matches!(reloc.r_type, r::PC32 | r::PLT32) => Err(site.refuse(
            "absolute symbol reached relative to code",
            reloc,
            format!("{} has a fixed value, which relocated code cannot form this way", symbol.name),
            "compile the unit with -fPIC",
        )),
        near => Ok(near),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::x86_64::X86_64;
    use crate::elf::Rela;
    use crate::locate::mask::{fields, same};

    #[test]
    fn only_fields_may_differ() {
        let rela = |offset, kind| Rela { offset, kind, symbol: 0, addend: 0 };
        let fields = fields(&X86_64, &[rela(5, r::PLT32), rela(1, r::PC32)]);
        assert!(same(b"\xe8aaaabbbbc", b"\xe8AAAABBBBcd", &fields));
        assert!(!same(b"\xe8aaaabbbbc", b"\xe9AAAABBBBc", &fields));
        assert!(!same(b"\xe8aaaabbbbc", b"\xe8AAAABBBBC", &fields));
        assert!(!same(b"\xe8aaaabbbbc", b"\xe8AAAA", &fields));
    }
}
