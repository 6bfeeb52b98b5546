//! What each symbol of a patch object stands for in the target and in the image.

use differ::{Binding, PatchSymbol, Refusal, SymbolPlace, SymbolType, Visibility};
use patchfile::image::ImportKind;

use super::inputs::{Inputs, Unit};
use super::libraries::Export;
use super::new_tls::NewTls;
use super::replacements::Replaced;
use super::target::Imported;
use crate::chunks::{Chunks, Place, Resolved, Tls, TlsSlots};
use crate::elf::{STB_LOCAL, STT_GNU_IFUNC, STT_OBJECT, STT_TLS};
use crate::error::refusal;
use crate::locate::linked::{LinkedDefinition, is_function};
use crate::locate::object::Located;

/// Folders of libraries that a file names itself (gABI, "Dynamic Section").
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Resolves symbols. There is one only when it is known what gets replaced and which thread-local variables
/// are new.
pub(crate) struct Resolver<'a, 'b> {
    pub(crate) inputs: &'b Inputs<'a, 'b>,
    pub(crate) replaced: &'b Replaced,
    pub(crate) new_tls: &'b NewTls,
}

impl Resolver<'_, '_> {
    /// Resolves symbol `index` of unit `unit`.
    pub(crate) fn resolve(
        &self,
        unit: usize,
        index: usize,
        chunks: &mut Chunks,
    ) -> Result<Resolved, Refusal> {
        let owner = &self.inputs.units[unit];
        let Some(symbol) = owner.patch.symbols.get(index) else {
            return Err(refusal(
                "damaged patch object",
                owner.name,
                "a relocation names no symbol",
                "report it",
            ));
        };
        let wrapped = self.inputs.options.wrapper_of(&symbol.name);
        if wrapped.is_some() && self.inputs.optimised {
            // Which of its references the linker has led elsewhere, and which the compiler had settled
            // before, is not in the objects.
            return Err(refusal(
                "wrapped symbol in a program optimised while it is linked",
                format!("{} ({})", symbol.name, owner.name),
                "the linker leads some of the references elsewhere (`--wrap`)",
                "call the wrapping function by its own name (`__wrap_...`), or what it wraps by another one",
            ));
        }
        match &symbol.place {
            SymbolPlace::Defined { .. } => self.defined(unit, index, symbol, chunks),
            SymbolPlace::Existing { orig_name, .. } => self.existing(owner, orig_name, chunks),
            SymbolPlace::Beside { neighbour, distance } => {
                self.beside(owner, (&symbol.name, neighbour, *distance))
            }
            SymbolPlace::Undefined => {
                let wrapping = wrapped.map(|name| PatchSymbol { name, ..symbol.clone() });
                let symbol = wrapping.as_ref().unwrap_or(symbol);
                if let Some((u, i)) = self.inputs.globals.get(&symbol.name)
                    && let Some(definition) = self.inputs.units.get(*u).and_then(|x| x.patch.symbols.get(*i))
                {
                    return self.defined(*u, *i, definition, chunks);
                }
                self.undefined(owner, symbol, chunks)
            }
        }
    }

    fn defined(
        &self,
        mut unit: usize,
        mut index: usize,
        symbol: &PatchSymbol,
        chunks: &mut Chunks,
    ) -> Result<Resolved, Refusal> {
        let name = symbol.name.as_str();
        let mut symbol = symbol;
        if symbol.binding != Binding::Local {
            if let Some(found) = self.inputs.shared(&self.inputs.units[unit], symbol) {
                return self.found(name, "", &found, true, chunks);
            }
            if let Some(&(u, i)) = self.inputs.globals.get(name)
                && let Some(first) = self.inputs.units.get(u).and_then(|x| x.patch.symbols.get(i))
            {
                (unit, index, symbol) = (u, i, first);
            }
        }
        let function = matches!(symbol.stype, SymbolType::Function | SymbolType::IFunc);
        let SymbolPlace::Defined { section, offset, .. } = &symbol.place else {
            return Err(refusal("damaged patch object", name, "a definition without a section", "report it"));
        };
        let Some(&chunk) = self.inputs.units[unit].chunks.get(*section) else {
            return Err(refusal("damaged patch object", name, "its section does not exist", "report it"));
        };
        let place = Place::Chunk { chunk, offset: *offset };
        if symbol.stype == SymbolType::Tls {
            return self.new_tls.resolved(unit, *section, *offset, symbol);
        }
        if symbol.stype == SymbolType::IFunc {
            return Err(match self.inputs.linked.global(name) {
                Ok(None) => refusal(
                    "indirect function that is new",
                    name,
                    "an implementation is chosen when the program starts, which is over",
                    "call one implementation directly, or a function of the program's own that does the same",
                ),
                _ => refusal(
                    "indirect function changed",
                    name,
                    "its resolver has run already",
                    "change the implementation that the resolver chose instead",
                ),
            });
        }
        match self.replaced.by.get(&(unit, index)) {
            Some(old) => {
                let call = self.replaced.new.get(old).copied().unwrap_or(place);
                let mut resolved = Resolved::at(name, Place::Target(*old), true);
                resolved.call = call;
                // A call that another module may take over keeps its way.
                if symbol.binding != Binding::Local && self.inputs.preemptible(name, true) {
                    self.through_slots(&mut resolved, chunks);
                }
                Ok(resolved)
            }
            None => Ok(Resolved::at(name, place, function)),
        }
    }

    fn existing(&self, owner: &Unit<'_>, name: &str, chunks: &mut Chunks) -> Result<Resolved, Refusal> {
        let Some(located) = &owner.located else {
            return Err(refusal(
                "symbol of a unit that is new",
                format!("{name} ({})", owner.name),
                "the original build has no such unit in this file",
                "report it",
            ));
        };
        let Located { name, found, binding, visibility, file, .. } =
            located.locate(name, self.inputs.linked)?.ok_or_else(|| dropped(name, owner.name))?;
        let global = binding != STB_LOCAL && visibility == 0;
        self.found(&name, if binding == STB_LOCAL { &file } else { "" }, &found, global, chunks)
    }

    /// What has no symbol of its own.
    fn beside(
        &self,
        owner: &Unit<'_>,
        (name, neighbour, distance): (&str, &str, i64),
    ) -> Result<Resolved, Refusal> {
        let located =
            owner.located.as_ref().and_then(|l| l.locate(neighbour, self.inputs.linked).transpose());
        let Located { found, file, overridden, .. } =
            located.transpose()?.ok_or_else(|| dropped(neighbour, owner.name))?;
        let value = found.value.wrapping_add_signed(distance);
        if overridden || found.absolute {
            return Err(dropped(neighbour, owner.name));
        }
        // Only where all code is at its place can it be found without a name.
        let found = LinkedDefinition { value, size: 0, kind: STT_OBJECT, absolute: false };
        let address = self.inputs.translate(&format!("{name} beside {neighbour}"), &file, &found)?;
        Ok(Resolved::at(name, Place::Target(address), false))
    }

    fn found(
        &self,
        name: &str,
        file: &str,
        found: &LinkedDefinition,
        global: bool,
        chunks: &mut Chunks,
    ) -> Result<Resolved, Refusal> {
        if found.absolute {
            return Ok(Resolved::at(name, Place::Constant(found.value), false));
        }
        let address = self.inputs.translate(name, file, found)?;
        let preemptible = global && self.inputs.preemptible(name, is_function(found.kind));
        if found.kind == STT_TLS {
            let slots = self.inputs.target.slots(name).tls;
            let mut resolved = Resolved::at(name, Place::Constant(0), false);
            resolved.tls = Some(if preemptible {
                Tls::Imported { slots }
            } else {
                let own = self.inputs.target.own_tls_slots(address).tls;
                let slots = TlsSlots {
                    thread_offset: own.thread_offset.or(slots.thread_offset),
                    pair: slots.pair,
                    descriptor: own.descriptor.or(slots.descriptor),
                };
                Tls::Own { offset: address, slots }
            });
            return Ok(resolved);
        }
        let mut resolved = Resolved::at(name, Place::Target(address), is_function(found.kind));
        if found.kind == STT_GNU_IFUNC {
            return self.indirect(resolved, address, preemptible, chunks);
        }
        if let Some(new) = self.replaced.new.get(&address) {
            resolved.call = *new;
        }
        if preemptible {
            self.through_slots(&mut resolved, chunks);
        }
        Ok(resolved)
    }

    /// Uses the way that the original code takes to a symbol which the dynamic loader binds.
    fn through_slots(&self, resolved: &mut Resolved, chunks: &mut Chunks) {
        let slots = self.inputs.target.slots(&resolved.name);
        resolved.slot = slots.address;
        let jump = slots.jump.or(slots.address);
        if resolved.function
            && let Some(slot) = jump
        {
            resolved.call = match self.inputs.target.plt_entry(slot) {
                Some(entry) => Place::Target(entry),
                None => chunks.jump_through(Place::Target(slot)),
            };
        }
        if slots.address.is_none() {
            let version = self.inputs.target.exports(&resolved.name).and_then(|s| s.version.clone());
            let kind = if resolved.function { ImportKind::Function } else { ImportKind::Object };
            // The loader's answer, which may be this module's own definition.
            resolved.address = chunks.import(&resolved.name, version, false, kind);
            if jump.is_none() && resolved.function && !matches!(resolved.call, Place::Chunk { .. }) {
                resolved.call = resolved.address;
            }
        }
    }

    fn indirect(
        &self,
        mut resolved: Resolved,
        resolver: u64,
        preemptible: bool,
        chunks: &mut Chunks,
    ) -> Result<Resolved, Refusal> {
        let named = self.inputs.target.slots(&resolved.name);
        if preemptible || named.address.is_some() || named.jump.is_some() {
            self.through_slots(&mut resolved, chunks);
            return Ok(resolved);
        }
        let Some(slot) = self.inputs.target.indirect_slot(resolver) else {
            return Err(refusal(
                "indirect function without a slot",
                resolved.name,
                "the target never calls it through its table, so the choice made at start is not recorded",
                "call one implementation directly",
            ));
        };
        let entry = self.inputs.target.plt_entry(slot);
        resolved.slot = Some(slot);
        resolved.call = match entry {
            Some(entry) => Place::Target(entry),
            None => chunks.jump_through(Place::Target(slot)),
        };
        // In a program whose code takes the address directly, the PLT entry stands for the function.
        resolved.address = resolved.call;
        Ok(resolved)
    }

    fn undefined(
        &self,
        owner: &Unit<'_>,
        symbol: &PatchSymbol,
        chunks: &mut Chunks,
    ) -> Result<Resolved, Refusal> {
        let name = symbol.name.as_str();
        let place = format!("{name} (used in {})", owner.name);
        match self.inputs.linked.global(name) {
            Ok(Some(found)) => {
                let global = symbol.visibility == Visibility::Default;
                return self.found(name, "", &found, global, chunks);
            }
            Ok(None) => {}
            Err(values) => {
                return Err(refusal(
                    "address in the target not certain",
                    place,
                    format!("the linked file defines this name {} times", values.len()),
                    "give the functions different names",
                ));
            }
        }
        if let Some(import) = self.inputs.target.imports.get(name) {
            let added = || self.inputs.libraries.find(&self.inputs.needed(), name)?.added_by;
            if import.weak && added().is_some() {
                return Err(refusal(
                    "weak symbol that comes to be defined",
                    place,
                    "the fix adds it to a library, but running code has asked for it and found it missing",
                    "give what is new another name, and call that",
                ));
            }
            return Ok(self.imported(name, import, chunks));
        }
        self.new_import(owner, symbol, place, chunks)
    }

    fn imported(&self, name: &str, import: &Imported, chunks: &mut Chunks) -> Resolved {
        if import.tls {
            let mut resolved = Resolved::at(name, Place::Constant(0), false);
            resolved.tls = Some(Tls::Imported { slots: self.inputs.target.slots(name).tls });
            return resolved;
        }
        let outside = chunks.import(name, import.version.clone(), import.weak, import.kind);
        let mut resolved = Resolved::at(name, outside, import.kind == ImportKind::Function);
        let slots = self.inputs.target.slots(name);
        resolved.slot = slots.address;
        if let Some(slot) = slots.jump.or(slots.address) {
            resolved.call = match self.inputs.target.plt_entry(slot) {
                Some(entry) => Place::Target(entry),
                None => chunks.jump_through(Place::Target(slot)),
            };
        }
        if let Some(canonical) = import.canonical {
            resolved.address = Place::Target(canonical);
            resolved.slot = None;
        }
        resolved
    }

    /// A library that the fix links and the target does not load, but that the process can load by itself.
    /// Not where the file names folders for its libraries: a call of `dlopen` from elsewhere does not search
    /// them, and might find another library of that name.
    fn companion(&self, name: &str, needed: &[String]) -> Option<Export> {
        let elf = &self.inputs.target.elf;
        let own_folders = [DT_RPATH, DT_RUNPATH].iter().any(|tag| !elf.dynamic_names(*tag).is_empty());
        if own_folders || needed.is_empty() {
            return None;
        }
        self.inputs.libraries.find(needed, "dlopen")?;
        self.inputs.libraries.find_later(name).filter(|export| !export.tls)
    }

    fn new_import(
        &self,
        owner: &Unit<'_>,
        symbol: &PatchSymbol,
        place: String,
        chunks: &mut Chunks,
    ) -> Result<Resolved, Refusal> {
        let name = symbol.name.as_str();
        let needed = self.inputs.needed();
        let weak = symbol.binding == Binding::Weak;
        match self.inputs.libraries.find(&needed, name) {
            Some(export) if export.tls => Err(refusal(
                "thread-local variable of another module",
                place,
                format!("the target does not use it yet ({} has it), so no slot leads to it", export.library),
                "call a function of that library that returns its address",
            )),
            Some(export) => {
                let function = export.kind == ImportKind::Function;
                let outside = match export.added_by {
                    Some(number) => chunks.sibling(name, export.version, export.kind, number),
                    None => chunks.import(name, export.version, weak, export.kind),
                };
                Ok(Resolved::at(name, outside, function))
            }
            None if weak => Ok(Resolved::at(name, Place::Constant(0), symbol.stype == SymbolType::Function)),
            // With one section for each function, the section's name says what was left out.
            None if self
                .inputs
                .linked
                .map
                .discarded
                .iter()
                .any(|(s, _)| s.rsplit('.').next() == Some(name)) =>
            {
                Err(dropped(name, owner.name))
            }
            None => {
                if let Some(brought) = self.companion(name, &needed) {
                    chunks.bring(brought.library);
                    let outside = chunks.import(name, brought.version, weak, brought.kind);
                    return Ok(Resolved::at(name, outside, brought.kind == ImportKind::Function));
                }
                if let Some(sibling) = self.inputs.libraries.find_added(name) {
                    return Err(refusal(
                        "symbol new in a file that the target does not load",
                        place,
                        format!(
                            "the fix adds it to {sibling}, which is no library that this file names \
                             (`DT_NEEDED`)"
                        ),
                        "hand its address over through what both files have already, or add the source to \
                         this file too",
                    ));
                }
                let (why, remedy) = match self.inputs.libraries.find_unloaded(name) {
                    Some(library) => (
                        format!("it needs library {library}, which the target does not load"),
                        match self.inputs.libraries.find(&needed, "dlopen") {
                            Some(_) => {
                                "use what the target already loads, or load the library in the patch \
                                 (dlopen, dlsym); what is linked with it \
                                 comes into force at the next start"
                            }
                            None => {
                                "use what the target already loads; a library that is linked to it is \
                             there from \
                                 its next start on"
                            }
                        },
                    ),
                    None if needed.is_empty() => (
                        "the target is linked statically and does not contain it".to_owned(),
                        "use functions that the target contains, or add the source to the patch",
                    ),
                    None => (
                        "neither the target nor a library that it loads defines it; an archive member that \
                         the \
                         target does not contain \
                         may have it"
                            .to_owned(),
                        "use functions that the target contains, or add the source to the patch",
                    ),
                };
                Err(refusal("undefined symbol", place, why, remedy))
            }
        }
    }
}

fn dropped(name: &str, unit: &str) -> Refusal {
    refusal(
        "symbol not in the target",
        format!("{name} ({unit})"),
        "the original link left it out (`--gc-sections`, or an unused COMDAT)",
        "do not refer to it from changed code, or give the changed code a copy of its own",
    )
}
