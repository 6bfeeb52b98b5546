//! What is known before it is decided what the image holds: the files, and the patch objects of the units.

use std::collections::HashMap;

use differ::{Binding, PatchObject, PatchSymbol, Refusal, SymbolPlace, SymbolType};

use super::input::MovedDefinitions;
use super::libraries::Libraries;
use super::target::TargetElf;
use crate::arch::Machine;
use crate::locate::command_line::Options;
use crate::locate::linked::{Linked, LinkedDefinition, is_function};
use crate::locate::unit::LocatedUnit;
use crate::locate::{LinkedSymbol, TargetAddresses};

/// A unit's patch object with what is known of it.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) name: &'a str,
    pub(crate) patch: &'a PatchObject,
    pub(crate) located: Option<LocatedUnit<'a>>,
    /// Piece of the image by section index.
    pub(crate) chunks: Vec<usize>,
}

/// The patch objects of one ELF file, and what is known of the original and of the target.
pub(crate) struct Inputs<'a, 'b> {
    pub(crate) machine: &'static dyn Machine,
    pub(crate) units: &'b [Unit<'a>],
    pub(crate) linked: &'b Linked<'a>,
    pub(crate) target: &'b TargetElf<'a>,
    pub(crate) addresses: &'b dyn TargetAddresses,
    pub(crate) libraries: &'b dyn Libraries,
    /// Definitions in the image of names that other units see: unit and symbol index.
    pub(crate) globals: HashMap<String, (usize, usize)>,
    /// New names for what the program has from another unit.
    pub(crate) moved: &'b MovedDefinitions,
    /// How the linker was told to bind names.
    pub(crate) options: Options,
    /// What runs was made from bytecode during the link.
    pub(crate) optimised: bool,
}

impl Inputs<'_, '_> {
    /// The program's own copy of what exists once in a program: an inline variable, a static local of an
    /// inline function, type information, and what another unit defined before. One that the unit had before
    /// is shipped because its content changed.
    pub(crate) fn shared(&self, owner: &Unit<'_>, symbol: &PatchSymbol) -> Option<LinkedDefinition> {
        let vague = matches!(symbol.binding, Binding::Weak | Binding::Unique)
            && matches!(symbol.stype, SymbolType::Object | SymbolType::Tls);
        let had = |p: &LocatedUnit<'_>| p.symbol(&symbol.name).is_some_and(|s| s.is_defined());
        let looked_up =
            (vague || self.moved.same.contains(&symbol.name)) && !owner.located.as_ref().is_some_and(had);
        self.linked.global(&symbol.name).ok().flatten().filter(|_| looked_up)
    }

    /// Address in the target of something found in the linked file.
    pub(crate) fn translate(&self, name: &str, file: &str, found: &LinkedDefinition) -> Result<u64, Refusal> {
        let function = is_function(found.kind);
        self.addresses.translate(LinkedSymbol {
            name,
            file,
            address: found.value,
            size: found.size,
            function,
        })
    }

    /// Another module's definition may win over the target's: only in a shared object, unless it binds to
    /// itself.
    pub(crate) fn preemptible(&self, name: &str, function: bool) -> bool {
        !self.target.executable
            && !if function { self.options.binds_own_functions } else { self.options.binds_own }
            && !self.target.symbolic()
            && self.target.exports(name).is_some_and(|s| s.visibility == 0)
    }

    /// Names of the libraries that are loaded with the target.
    pub(crate) fn needed(&self) -> Vec<String> {
        const DT_NEEDED: u64 = 1;
        const DT_SONAME: u64 = 14;
        let mut needed = self.target.elf.dynamic_names(DT_NEEDED);
        // A library that calls nothing of libc does not name it, yet no process that loads the library is
        // without.
        let library = !self.target.elf.dynamic_names(DT_SONAME).is_empty();
        if library && !needed.iter().any(|n| n.starts_with("libc.so")) {
            needed.push("libc.so.6".into());
        }
        needed
    }

    /// Whether symbol `index` of unit `unit` is a thread-local variable that the patch adds.
    pub(crate) fn is_new_tls(&self, unit: usize, index: usize) -> bool {
        let Some(symbol) = self.units[unit].patch.symbols.get(index) else { return false };
        match &symbol.place {
            SymbolPlace::Defined { .. } => {
                symbol.stype == SymbolType::Tls && self.shared(&self.units[unit], symbol).is_none()
            }
            SymbolPlace::Existing { .. } | SymbolPlace::Beside { .. } => false,
            SymbolPlace::Undefined => {
                let definition = self.globals.get(&symbol.name);
                definition.is_some_and(|(u, i)| (*u, *i) != (unit, index) && self.is_new_tls(*u, *i))
            }
        }
    }
}
