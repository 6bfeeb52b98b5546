//! What each symbol of a patch object stands for in the target and in the image.

use std::collections::HashMap;

use differ::{Binding, PatchObject, PatchSymbol, Refusal, SymbolPlace, SymbolType, Visibility};
use patchfile::image::ImportKind;

use crate::chunks::chunk::Place;
use crate::chunks::pool::Pieces;
use crate::elf::{STB_LOCAL, STT_GNU_IFUNC, STT_TLS};
use crate::error::refusal;
use crate::image::input::Elsewhere;
use crate::image::inside::Inside;
use crate::image::libraries::Libraries;
use crate::image::new_tls::NewTls;
use crate::image::target::{Slots, TargetElf};
use crate::locate::command_line::Options;
use crate::locate::linked::{Found, Linked, is_function};
use crate::locate::object::Located;
use crate::locate::translate::{LinkedSymbol, TargetAddresses};
use crate::locate::unit::Placement;

/// A thread-local variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Offset in the target's own TLS segment, and the slots that lead to it.
    Own { offset: u64, slots: SlotsOfTls },
    /// Of another module: only by slots that the target has.
    Imported { slots: SlotsOfTls },
    /// The patch adds it: offset in the block of each thread.
    New { offset: u64 },
}

/// TLS slots of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotsOfTls {
    pub(crate) tpoff: Option<u64>,
    pub(crate) pair: Option<u64>,
    pub(crate) descriptor: Option<u64>,
}

impl From<Slots> for SlotsOfTls {
    fn from(s: Slots) -> Self {
        Self { tpoff: s.tpoff, pair: s.pair, descriptor: s.descriptor }
    }
}

/// What a symbol stands for.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    /// Where a call or jump goes: straight to new code.
    pub(crate) call: Place,
    /// Its address as a value: of a replaced function the old one, which stays valid when the patch is taken out and compares equal to
    /// pointers that exist already.
    pub(crate) address: Place,
    /// GOT slot of the target that holds the address.
    pub(crate) slot: Option<u64>,
    pub(crate) function: bool,
    pub(crate) tls: Option<Tls>,
}

impl Resolved {
    pub(crate) fn at(name: &str, place: Place, function: bool) -> Self {
        Self { name: name.to_owned(), call: place, address: place, slot: None, function, tls: None }
    }
}

/// A unit's patch object with what is known of it.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) name: &'a str,
    pub(crate) patch: &'a PatchObject,
    pub(crate) placement: Option<Placement<'a>>,
    /// Piece of the image by section index.
    pub(crate) chunks: Vec<usize>,
}

/// A function that gets replaced, by its old address in the target.
pub(crate) type Replaced = HashMap<u64, Place>;

/// Everything that resolving needs to look at.
pub(crate) struct Resolver<'a, 'b> {
    pub(crate) linked: &'b Linked<'a>,
    pub(crate) target: &'b TargetElf<'a>,
    pub(crate) addresses: &'b dyn TargetAddresses,
    pub(crate) libraries: &'b dyn Libraries,
    pub(crate) replaced: Replaced,
    /// Old address in the target of each symbol that replaces a function: unit and symbol index.
    pub(crate) old: HashMap<(usize, usize), u64>,
    /// Definitions in the image of names that other units see: unit and symbol index.
    pub(crate) globals: HashMap<String, (usize, usize)>,
    /// New names for what the program has from another unit.
    pub(crate) elsewhere: &'b Elsewhere,
    /// How the linker was told to bind names.
    pub(crate) options: Options,
    /// What runs was made from bytecode during the link.
    pub(crate) optimised: bool,
    pub(crate) new_tls: NewTls,
    pub(crate) inside: Inside,
}

impl Resolver<'_, '_> {
    /// Resolves symbol `index` of unit `unit`.
    pub(crate) fn resolve(
        &self,
        units: &[Unit<'_>],
        unit: usize,
        index: usize,
        pieces: &mut Pieces,
    ) -> Result<Resolved, Refusal> {
        let owner = &units[unit];
        let Some(symbol) = owner.patch.symbols.get(index) else {
            return Err(refusal(
                "damaged patch object",
                owner.name,
                "a relocation names no symbol",
                "report it",
            ));
        };
        let wrapped = self.options.wrapper_of(&symbol.name);
        if wrapped.is_some() && self.optimised {
            // Which of its references the linker has led elsewhere, and which the compiler had settled before, is not in the objects.
            return Err(refusal(
                "wrapped symbol in a program optimised while it is linked",
                format!("{} ({})", symbol.name, owner.name),
                "the linker leads some of the references elsewhere (`--wrap`)",
                "call the wrapping function by its own name (`__wrap_...`), or what it wraps by another one",
            ));
        }
        match &symbol.place {
            SymbolPlace::Defined { .. } => self.defined(units, unit, index, symbol, pieces),
            SymbolPlace::Existing { orig_name, .. } => self.existing(owner, orig_name, pieces),
            SymbolPlace::Undefined => {
                let wrapping = wrapped.map(|name| PatchSymbol { name, ..symbol.clone() });
                let symbol = wrapping.as_ref().unwrap_or(symbol);
                if let Some((u, i)) = self.globals.get(&symbol.name)
                    && let Some(definition) = units.get(*u).and_then(|x| x.patch.symbols.get(*i))
                {
                    return self.defined(units, *u, *i, definition, pieces);
                }
                self.undefined(owner, symbol, pieces)
            }
        }
    }

    fn defined(
        &self,
        units: &[Unit<'_>],
        mut unit: usize,
        mut index: usize,
        symbol: &PatchSymbol,
        pieces: &mut Pieces,
    ) -> Result<Resolved, Refusal> {
        let name = symbol.name.as_str();
        let mut symbol = symbol;
        if symbol.binding != Binding::Local {
            if let Some(found) = self.shared(&units[unit], symbol) {
                return self.found(name, "", &found, true, pieces);
            }
            if let Some(&(u, i)) = self.globals.get(name)
                && let Some(first) = units.get(u).and_then(|x| x.patch.symbols.get(i))
            {
                (unit, index, symbol) = (u, i, first);
            }
        }
        let function = matches!(symbol.stype, SymbolType::Function | SymbolType::IFunc);
        let SymbolPlace::Defined { section, offset, .. } = &symbol.place else {
            return Err(refusal("damaged patch object", name, "a definition without a section", "report it"));
        };
        let Some(&chunk) = units[unit].chunks.get(*section) else {
            return Err(refusal("damaged patch object", name, "its section does not exist", "report it"));
        };
        let place = Place::Chunk { chunk, offset: *offset };
        if symbol.stype == SymbolType::Tls {
            return self.added_tls(unit, *section, *offset, symbol);
        }
        if symbol.stype == SymbolType::IFunc {
            return Err(match self.linked.global(name) {
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
        match self.old.get(&(unit, index)) {
            Some(old) => {
                let call = self.replaced.get(old).copied().unwrap_or(place);
                let mut resolved = Resolved::at(name, Place::Target(*old), true);
                resolved.call = call;
                // A call that another module may take over keeps its way.
                if symbol.binding != Binding::Local && self.preemptible(name, true) {
                    self.through_slots(&mut resolved, pieces);
                }
                Ok(resolved)
            }
            None => Ok(Resolved::at(name, place, function)),
        }
    }

    /// The program's own copy of what exists once in a program: an inline variable, a static local of an inline function, type information,
    /// and what another unit defined before. One that the unit had before is shipped because its content changed.
    pub(crate) fn shared(&self, owner: &Unit<'_>, symbol: &PatchSymbol) -> Option<Found> {
        let vague = matches!(symbol.binding, Binding::Weak | Binding::Unique)
            && matches!(symbol.stype, SymbolType::Object | SymbolType::Tls);
        let had = |p: &Placement<'_>| p.symbol(&symbol.name).is_some_and(|s| s.is_defined());
        let looked_up = (vague || self.elsewhere.same.contains(&symbol.name))
            && !owner.placement.as_ref().is_some_and(had);
        self.linked.global(&symbol.name).ok().flatten().filter(|_| looked_up)
    }

    fn existing(&self, owner: &Unit<'_>, name: &str, pieces: &mut Pieces) -> Result<Resolved, Refusal> {
        let Some(placement) = &owner.placement else {
            return Err(refusal(
                "symbol of a unit that is new",
                format!("{name} ({})", owner.name),
                "the original build has no such unit in this file",
                "report it",
            ));
        };
        let Located { name, found, binding, visibility, file, .. } =
            placement.locate(name, self.linked)?.ok_or_else(|| dropped(name, owner.name))?;
        let global = binding != STB_LOCAL && visibility == 0;
        self.found(&name, if binding == STB_LOCAL { &file } else { "" }, &found, global, pieces)
    }

    /// Address in the target of something found in the linked file.
    pub(crate) fn translate(&self, name: &str, file: &str, found: &Found) -> Result<u64, Refusal> {
        let function = is_function(found.kind);
        self.addresses.translate(LinkedSymbol {
            name,
            file,
            address: found.value,
            size: found.size,
            function,
        })
    }

    fn found(
        &self,
        name: &str,
        file: &str,
        found: &Found,
        global: bool,
        pieces: &mut Pieces,
    ) -> Result<Resolved, Refusal> {
        if found.absolute {
            return Ok(Resolved::at(name, Place::Constant(found.value), false));
        }
        let address = self.translate(name, file, found)?;
        let preemptible = global && self.preemptible(name, is_function(found.kind));
        if found.kind == STT_TLS {
            let slots = SlotsOfTls::from(self.target.slots(name));
            let mut resolved = Resolved::at(name, Place::Constant(0), false);
            resolved.tls = Some(if preemptible {
                Tls::Imported { slots }
            } else {
                let own = self.target.own_tls_slots(address);
                let slots = SlotsOfTls {
                    tpoff: own.tpoff.or(slots.tpoff),
                    pair: slots.pair,
                    descriptor: own.descriptor.or(slots.descriptor),
                };
                Tls::Own { offset: address, slots }
            });
            return Ok(resolved);
        }
        let mut resolved = Resolved::at(name, Place::Target(address), is_function(found.kind));
        if found.kind == STT_GNU_IFUNC {
            return self.indirect(resolved, address, preemptible, pieces);
        }
        if let Some(new) = self.replaced.get(&address) {
            resolved.call = *new;
        }
        if preemptible {
            self.through_slots(&mut resolved, pieces);
        }
        Ok(resolved)
    }

    /// Another module's definition may win over the target's: only in a shared object, unless it binds to itself.
    fn preemptible(&self, name: &str, function: bool) -> bool {
        !self.target.executable
            && !if function { self.options.binds_own_functions } else { self.options.binds_own }
            && !self.target.symbolic()
            && self.target.exports(name).is_some_and(|s| s.visibility == 0)
    }

    /// Uses the way that the original code takes to a symbol which the dynamic loader binds.
    fn through_slots(&self, resolved: &mut Resolved, pieces: &mut Pieces) {
        let slots = self.target.slots(&resolved.name);
        resolved.slot = slots.address;
        let jump = slots.jump.or(slots.address);
        if resolved.function
            && let Some(slot) = jump
        {
            resolved.call = match self.target.plt_entry(slot) {
                Some(entry) => Place::Target(entry),
                None => pieces.jump_through(Place::Target(slot)),
            };
        }
        if slots.address.is_none() {
            let version = self.target.exports(&resolved.name).and_then(|s| s.version.clone());
            let kind = if resolved.function { ImportKind::Function } else { ImportKind::Object };
            // The loader's answer, which may be this module's own definition.
            resolved.address = pieces.import(&resolved.name, version, false, kind);
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
        pieces: &mut Pieces,
    ) -> Result<Resolved, Refusal> {
        let named = self.target.slots(&resolved.name);
        if preemptible || named.address.is_some() || named.jump.is_some() {
            self.through_slots(&mut resolved, pieces);
            return Ok(resolved);
        }
        let Some(slot) = self.target.indirect_slot(resolver) else {
            return Err(refusal(
                "indirect function without a slot",
                resolved.name,
                "the target never calls it through its table, so the choice made at start is not recorded",
                "call one implementation directly",
            ));
        };
        let entry = self.target.plt_entry(slot);
        resolved.slot = Some(slot);
        resolved.call = match entry {
            Some(entry) => Place::Target(entry),
            None => pieces.jump_through(Place::Target(slot)),
        };
        // In a program whose code takes the address directly, the PLT entry stands for the function.
        resolved.address = resolved.call;
        Ok(resolved)
    }

    fn undefined(
        &self,
        owner: &Unit<'_>,
        symbol: &PatchSymbol,
        pieces: &mut Pieces,
    ) -> Result<Resolved, Refusal> {
        let name = symbol.name.as_str();
        let place = format!("{name} (used in {})", owner.name);
        match self.linked.global(name) {
            Ok(Some(found)) => {
                let global = symbol.visibility == Visibility::Default;
                return self.found(name, "", &found, global, pieces);
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
        if let Some(import) = self.target.imports.get(name) {
            let added = || self.libraries.find(&self.needed(), name)?.added_by;
            if import.weak && added().is_some() {
                return Err(refusal(
                    "weak symbol that comes to be defined",
                    place,
                    "the fix adds it to a library, but running code has asked for it and found it missing",
                    "give what is new another name, and call that",
                ));
            }
            return Ok(self.imported(name, import, pieces));
        }
        self.new_import(owner, symbol, place, pieces)
    }

    fn imported(&self, name: &str, import: &crate::image::target::Imported, pieces: &mut Pieces) -> Resolved {
        if import.tls {
            let mut resolved = Resolved::at(name, Place::Constant(0), false);
            resolved.tls = Some(Tls::Imported { slots: self.target.slots(name).into() });
            return resolved;
        }
        let outside = pieces.import(name, import.version.clone(), import.weak, import.kind);
        let mut resolved = Resolved::at(name, outside, import.kind == ImportKind::Function);
        let slots = self.target.slots(name);
        resolved.slot = slots.address;
        if let Some(slot) = slots.jump.or(slots.address) {
            resolved.call = match self.target.plt_entry(slot) {
                Some(entry) => Place::Target(entry),
                None => pieces.jump_through(Place::Target(slot)),
            };
        }
        if let Some(canonical) = import.canonical {
            resolved.address = Place::Target(canonical);
            resolved.slot = None;
        }
        resolved
    }

    /// Names of the libraries that are loaded with the target.
    pub(crate) fn needed(&self) -> Vec<String> {
        const DT_NEEDED: u64 = 1;
        const DT_SONAME: u64 = 14;
        let mut needed = self.target.elf.dynamic_names(DT_NEEDED);
        // A library that calls nothing of libc does not name it, yet no process that loads the library is without.
        let library = !self.target.elf.dynamic_names(DT_SONAME).is_empty();
        if library && !needed.iter().any(|n| n.starts_with("libc.so")) {
            needed.push("libc.so.6".into());
        }
        needed
    }

    fn new_import(
        &self,
        owner: &Unit<'_>,
        symbol: &PatchSymbol,
        place: String,
        pieces: &mut Pieces,
    ) -> Result<Resolved, Refusal> {
        let name = symbol.name.as_str();
        let needed = self.needed();
        let weak = symbol.binding == Binding::Weak;
        match self.libraries.find(&needed, name) {
            Some(export) if export.tls => Err(refusal(
                "thread-local variable of another module",
                place,
                format!("the target does not use it yet ({} has it), so no slot leads to it", export.library),
                "call a function of that library that returns its address",
            )),
            Some(export) => {
                let function = export.kind == ImportKind::Function;
                let outside = match export.added_by {
                    Some(number) => pieces.sibling(name, export.version, export.kind, number),
                    None => pieces.import(name, export.version, weak, export.kind),
                };
                Ok(Resolved::at(name, outside, function))
            }
            None if weak => Ok(Resolved::at(name, Place::Constant(0), symbol.stype == SymbolType::Function)),
            // With one section for each function, the section's name says what was left out.
            None if self.linked.map.discarded.iter().any(|(s, _)| s.rsplit('.').next() == Some(name)) => {
                Err(dropped(name, owner.name))
            }
            None => {
                if let Some(sibling) = self.libraries.find_added(name) {
                    return Err(refusal(
                        "symbol new in a file that the target does not load",
                        place,
                        format!(
                            "the fix adds it to {sibling}, which is no library that this file names (`DT_NEEDED`)"
                        ),
                        "hand its address over through what both files have already, or add the source to this file too",
                    ));
                }
                let (why, remedy) = match self.libraries.find_unloaded(name) {
                    Some(library) => (
                        format!("it needs library {library}, which the target does not load"),
                        match self.libraries.find(&needed, "dlopen") {
                            Some(_) => "use what the target already loads, or load the library in the patch (dlopen, dlsym); what is linked with it \
                                 comes into force at the next start",
                            None => "use what the target already loads; a library that is linked to it is there from its next start on",
                        },
                    ),
                    None if needed.is_empty() => (
                        "the target is linked statically and does not contain it".to_owned(),
                        "use functions that the target contains, or add the source to the patch",
                    ),
                    None => (
                        "neither the target nor a library that it loads defines it; an archive member that the target does not contain \
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

pub(crate) fn dropped(name: &str, unit: &str) -> Refusal {
    refusal(
        "symbol not in the target",
        format!("{name} ({unit})"),
        "the original link left it out (`--gc-sections`, or an unused COMDAT)",
        "do not refer to it from changed code, or give the changed code a copy of its own",
    )
}
