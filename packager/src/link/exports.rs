//! What the fix adds to the symbols that an ELF file exports, for code of other ELF files of the same patch.

use patchfile::image::{Export, Exported};

use super::chunk::Place;
use super::elf::{Elf, STT_GNU_IFUNC, STT_TLS};
use super::error::LinkError;
use super::layout::Layout;
use super::resolve::{Resolver, Unit};

/// The symbols that the patched file exports and the target does not, as far as the image has them.
pub(super) fn added(
    patched: Option<&[u8]>,
    resolver: &Resolver<'_, '_>,
    units: &[Unit<'_>],
    layout: &Layout,
) -> Result<Vec<Export>, LinkError> {
    let Some(patched) = patched else { return Ok(Vec::new()) };
    let patched = Elf::parse(patched, "ELF file of the patched build")?;
    let mut exports: Vec<Export> = Vec::new();
    for symbol in patched.dynamic_symbols.iter().filter(|s| s.is_defined() && !s.version_hidden) {
        let name = symbol.name.as_str();
        // One that was there, in whatever version, is found by the dynamic symbols of the running module.
        if matches!(symbol.kind, STT_TLS | STT_GNU_IFUNC) || resolver.target.exports(name).is_some() {
            continue;
        }
        let Some(at) = place(name, resolver, units, layout) else { continue };
        exports.push(Export { name: name.to_owned(), version: symbol.version.clone(), at });
    }
    Ok(exports)
}

/// Where a global symbol of the image is. Of a function that was there before, not exported, the old address, as everywhere: it leads to the
/// new code.
fn place(name: &str, resolver: &Resolver<'_, '_>, units: &[Unit<'_>], layout: &Layout) -> Option<Exported> {
    let (unit, index) = *resolver.globals.get(name)?;
    if let Some(old) = resolver.old.get(&(unit, index)) {
        return Some(Exported::Target(*old));
    }
    let owner = units.get(unit)?;
    let differ::SymbolPlace::Defined { section, offset, .. } = &owner.patch.symbols.get(index)?.place else {
        return None;
    };
    let place = Place::Chunk { chunk: *owner.chunks.get(*section)?, offset: *offset };
    layout.address(place).map(Exported::Image)
}
