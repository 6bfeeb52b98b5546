//! What the fix adds to the symbols that an ELF file exports, for code of other ELF files of the same patch.

use differ::{Binding, SectionKind, SymbolPlace, SymbolType};
use patchfile::image::{Export, Exported};

use super::inputs::Inputs;
use super::layout::Layout;
use super::resolve::Resolver;
use crate::chunks::Place;
use crate::elf::{ElfFile, STT_GNU_IFUNC, STT_TLS};

/// The symbols that the patched file exports and the target does not, as far as the image has them.
pub(crate) fn added(patched: &ElfFile<'_>, resolver: &Resolver<'_, '_>, layout: &Layout) -> Vec<Export> {
    let mut exports: Vec<Export> = Vec::new();
    for symbol in patched.dynamic_symbols.iter().filter(|s| s.is_defined() && !s.version_hidden) {
        let name = symbol.name.as_str();
        // One that was there, in whatever version, is found by the dynamic symbols of the running module.
        if matches!(symbol.kind, STT_TLS | STT_GNU_IFUNC) || resolver.inputs.target.exports(name).is_some() {
            continue;
        }
        let Some(at) = place(name, resolver, layout) else { continue };
        exports.push(Export { name: name.to_owned(), version: symbol.version.clone(), at });
    }
    exports
}

/// New variables of which a process has one, however many of its files define them (C++: inline variables,
/// static variables of inline functions). Each image has one of its own.
pub(crate) fn shared(patched: &ElfFile<'_>, inputs: &Inputs<'_, '_>) -> Vec<String> {
    let is_shared = |name: &str| {
        let (unit, index) = *inputs.globals.get(name)?;
        let owner = inputs.units.get(unit)?;
        let symbol = owner.patch.symbols.get(index)?;
        let SymbolPlace::Defined { section, .. } = &symbol.place else { return None };
        let vague = matches!(symbol.binding, Binding::Weak | Binding::Unique);
        let writable =
            matches!(owner.patch.sections.get(*section)?.kind, SectionKind::Data | SectionKind::Bss);
        let new = matches!(inputs.linked.global(name), Ok(None));
        (symbol.stype == SymbolType::Object && vague && writable && new).then_some(())
    };
    let exported = patched.dynamic_symbols.iter().filter(|s| s.is_defined());
    exported.map(|s| &s.name).filter(|name| is_shared(name).is_some()).cloned().collect()
}

/// Where a global symbol of the image is. Of a function that was there before, not exported, the old address,
/// as everywhere: it leads to the new code.
fn place(name: &str, resolver: &Resolver<'_, '_>, layout: &Layout) -> Option<Exported> {
    let (unit, index) = *resolver.inputs.globals.get(name)?;
    if let Some(old) = resolver.replaced.by.get(&(unit, index)) {
        return Some(Exported::Target(*old));
    }
    let owner = resolver.inputs.units.get(unit)?;
    let SymbolPlace::Defined { section, offset, .. } = &owner.patch.symbols.get(index)?.place else {
        return None;
    };
    let place = Place::Chunk { chunk: *owner.chunks.get(*section)?, offset: *offset };
    layout.address(place).map(Exported::Image)
}
