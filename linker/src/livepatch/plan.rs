//! Decides for each relocation of the patch objects what it leads to.

use std::collections::HashMap;

use differ::{Binding, PatchSection, Refusal, Relocation, SectionKind, SymbolPlace, SymbolType};

use super::located::{Located, State};
use super::original::Original;
use super::references::{Meaning, References};
use super::shipped::Shipped;
use super::static_calls::{self, StaticCall};
use super::symvers::KernelObject;
use super::tables::{is_part_of, is_read_early, is_table};
use super::unit::{KernelContext, KernelUnit};
use crate::arch::kernel as machine;
use crate::elf::SHF_EXECINSTR;
use crate::error::{LinkError, refusal};

/// What a relocation leads to.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// A symbol that the patch object of the same unit defines, by its index.
    Own(usize),
    /// A symbol that the patch object of another unit defines.
    Unit { unit: usize, symbol: usize, name: String },
    /// Something of the shipped kernel.
    Shipped(Meaning),
    /// What is so many bytes behind something of the shipped kernel.
    Beside(Meaning, i64),
    /// A weak symbol that nothing defines.
    Nothing(String),
}

/// A function that is replaced.
#[derive(Clone, Debug)]
pub(super) struct Replaced {
    /// Index of the symbol in the patch object.
    pub(super) symbol: usize,
    /// The function that it replaces.
    pub(super) old: Meaning,
}

/// One unit, with all that was decided.
pub(super) struct PlannedUnit<'a> {
    pub(super) unit: &'a KernelUnit<'a>,
    pub(super) replaced: Vec<Replaced>,
    /// For each section and each of its relocations.
    pub(super) goals: Vec<Vec<Goal>>,
    /// Section, offset, and the call.
    pub(super) static_calls: Vec<(usize, u64, StaticCall)>,
}

/// All units of a patch.
pub(super) struct Plan<'a> {
    pub(super) context: &'a KernelContext<'a>,
    pub(super) units: Vec<PlannedUnit<'a>>,
}

/// What other units can refer to: the unit, the symbol.
type Definitions<'a> = HashMap<&'a str, Vec<(usize, usize)>>;

impl<'a> Plan<'a> {
    pub(super) fn make(
        units: &'a [KernelUnit<'a>],
        context: &'a KernelContext<'a>,
    ) -> Result<Self, LinkError> {
        let mut located = Vec::new();
        for unit in units {
            let shipped = Shipped::of(&unit.object, context)?;
            located.push(Located::new(Original::read(unit.name, unit.original)?, shipped));
        }
        let mut definitions = Definitions::new();
        for (at, unit) in units.iter().enumerate() {
            for (index, symbol) in unit.patch.symbols.iter().enumerate() {
                if symbol.binding != Binding::Local
                    && symbol.stype != SymbolType::Section
                    && matches!(symbol.place, SymbolPlace::Defined { .. })
                {
                    definitions.entry(&symbol.name).or_default().push((at, index));
                }
            }
        }
        let (mut refusals, mut untraced) = (Vec::new(), Vec::new());
        let mut planned = Vec::new();
        for (number, unit) in units.iter().enumerate() {
            let mut planner = Planner {
                units,
                number,
                unit,
                references: References {
                    unit: unit.name,
                    object: &unit.object,
                    located: &located[number],
                    context,
                },
                located: &located,
                definitions: &definitions,
                refusals: &mut refusals,
                untraced: &mut untraced,
            };
            planned.push(planner.plan());
        }
        if refusals.is_empty() && !untraced.is_empty() {
            let (functions, refusals) = untraced.into_iter().unzip();
            return Err(LinkError::NoRoom { refusals, functions });
        }
        refusals.extend(untraced.into_iter().map(|(_, refusal)| refusal));
        if !refusals.is_empty() {
            return Err(LinkError::Refused(refusals));
        }
        Ok(Self { context, units: planned })
    }
}

struct Planner<'a, 'p> {
    units: &'a [KernelUnit<'a>],
    number: usize,
    unit: &'a KernelUnit<'a>,
    references: References<'p>,
    located: &'p [Located<'a>],
    definitions: &'p Definitions<'a>,
    refusals: &'p mut Vec<Refusal>,
    untraced: &'p mut Vec<((usize, String), Refusal)>,
}

impl<'a> Planner<'a, '_> {
    fn plan(&mut self) -> PlannedUnit<'a> {
        let patch = self.unit.patch;
        if patch.machine != machine::MACHINE {
            let why = "patches of the kernel are not made for this machine so far";
            self.refuse("another machine", self.unit.name, why, "make it for another one");
        }
        let replaced = self.replaced();
        let (mut goals, mut calls) = (Vec::new(), Vec::new());
        for (index, section) in patch.sections.iter().enumerate() {
            self.look_at(section);
            let mut list = Vec::new();
            for rela in &section.relocations {
                match self.goal(section, rela) {
                    Ok(goal) => {
                        self.look_at_goal(section, rela, &goal);
                        if let Some(call) = self.static_call(section, rela, &goal) {
                            calls.push((index, call.0, call.1));
                        }
                        list.push(goal);
                    }
                    Err(refusal) => self.add(refusal),
                }
            }
            goals.push(list);
        }
        PlannedUnit { unit: self.unit, replaced, goals, static_calls: calls }
    }

    fn add(&mut self, refusal: Refusal) {
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    fn refuse(&mut self, what: &str, place: &str, why: &str, remedy: &str) {
        self.add(refusal(what, format!("{place} ({})", self.unit.name), why, remedy));
    }

    fn replaced(&mut self) -> Vec<Replaced> {
        let mut all = Vec::new();
        for (symbol, of) in self.unit.patch.symbols.iter().enumerate() {
            let SymbolPlace::Defined { replaces: Some(old), .. } = &of.place else { continue };
            match self.references.old_function(old) {
                Ok((old, true)) => all.push(Replaced { symbol, old }),
                Ok((meaning, false)) => {
                    let refusal = refusal(
                        "a function that cannot be redirected",
                        format!("{old} ({})", self.unit.name),
                        "the kernel does not trace it (notrace, or a file or folder without ftrace), and \
                         live \
                         patches redirect functions by its tracer",
                        "change functions that call it instead",
                    );
                    self.untraced.push(((self.number, old.clone()), refusal));
                    all.push(Replaced { symbol, old: meaning });
                }
                Err(refusal) => self.add(refusal),
            }
        }
        all
    }

    /// Things that no patch module can have.
    fn look_at(&mut self, section: &PatchSection) {
        let name = section.name.as_str();
        let starts = [".init", ".exit"].iter().any(|base| name.starts_with(base));
        if starts {
            let why =
                "the code has run, or runs only when the object goes; a patch would not change what it did";
            self.refuse("code or data of the start is shipped", name, why, "leave this change out");
        }
        if name.starts_with("runtime_ptr_") || name.starts_with("runtime_shift_") {
            let why = "the kernel fills such places in only in itself, as it starts; in a module they keep \
             what \
                       the compiler wrote";
            self.refuse("a constant of the running kernel", name, why, "leave this change out");
        }
        if is_part_of(name, ".data..percpu") && self.unit.object != KernelObject::Kernel {
            let why =
                "code of a module reaches its per-CPU data in a way that the patch module's need not allow";
            self.refuse("new per-CPU data in a patch of a module", name, why, "keep the data elsewhere");
        }
        if section.kind == SectionKind::Tls {
            self.refuse(
                "damaged patch object",
                name,
                "it has thread-local data, which kernels do not",
                "report this",
            );
        }
    }

    fn look_at_goal(&mut self, section: &PatchSection, rela: &Relocation, goal: &Goal) {
        let (Goal::Shipped(meaning) | Goal::Beside(meaning, _)) = goal else { return };
        if is_read_early(&section.name) && matches!(meaning.by, Some(KernelObject::Module(_))) {
            let why = format!(
                "`{}` refers to it, which the kernel reads before it resolves references into modules",
                section.name
            );
            let remedy = "leave this use out; if it is of a static key, test the key's value instead";
            self.refuse("a list refers into a module", &meaning.name, &why, remedy);
        }
        if meaning.sealed && !rela.is_branch && !is_table(&section.name) {
            let why = "as it started, the kernel has taken away what marks this function as a goal of \
                       indirect calls, since nothing took its address: such a call ends in a fault";
            self.refuse(
                "a new reference to a sealed function",
                &meaning.name,
                why,
                "call it by another function",
            );
        }
    }

    fn goal(&self, section: &PatchSection, rela: &Relocation) -> Result<Goal, Refusal> {
        let Some(symbol) = self.unit.patch.symbols.get(rela.symbol) else {
            return Err(refusal("damaged patch object", self.unit.name, "it is damaged", "report this"));
        };
        match &symbol.place {
            SymbolPlace::Defined { .. } => match self.old_address(section, rela, self.number, rela.symbol) {
                Some(old) => old.map(Goal::Shipped),
                None => Ok(Goal::Own(rela.symbol)),
            },
            SymbolPlace::Existing { orig_name, .. } => self.references.existing(orig_name).map(Goal::Shipped),
            SymbolPlace::Beside { neighbour, distance } => {
                self.references.existing(neighbour).map(|meaning| Goal::Beside(meaning, *distance))
            }
            SymbolPlace::Undefined => self.undefined(section, rela, &symbol.name, symbol.binding),
        }
    }

    fn undefined(
        &self,
        section: &PatchSection,
        rela: &Relocation,
        name: &str,
        binding: Binding,
    ) -> Result<Goal, Refusal> {
        if let Some((unit, symbol)) = self.defined_elsewhere(name) {
            return match self.old_address(section, rela, unit, symbol) {
                Some(old) => old.map(Goal::Shipped),
                None => Ok(Goal::Unit { unit, symbol, name: name.to_owned() }),
            };
        }
        match self.references.elsewhere(name) {
            Err(_) if binding == Binding::Weak => Ok(Goal::Nothing(name.to_owned())),
            meaning => meaning.map(Goal::Shipped),
        }
    }

    /// Another unit of the patch that defines a name for this one: one of the same object, one whose object
    /// exports the name, or a unit of the kernel with something new. The patch module has what is new, and
    /// code of the kernel in it is complete as soon as it is loaded. New code of a module is complete only
    /// while the module is there, so no other object may use it.
    fn defined_elsewhere(&self, name: &str) -> Option<(usize, usize)> {
        let definitions = self.definitions.get(name)?;
        let is_new = |unit: usize, symbol: usize| {
            let place = self.units[unit].patch.symbols.get(symbol).map(|s| &s.place);
            self.units[unit].object == KernelObject::Kernel
                && matches!(place, Some(SymbolPlace::Defined { replaces: None, .. }))
                && !self.references.is_shipped(name)
        };
        let reaches = |(unit, symbol): &&(usize, usize)| {
            let object = &self.units[*unit].object;
            *object == self.unit.object
                || is_new(*unit, *symbol)
                || self.references.context.symvers.exporter(name).as_ref() == Some(object)
        };
        definitions.iter().find(reaches).copied()
    }

    /// The old function, where a relocation takes the address of one that is replaced rather than calls it:
    /// an address may be kept for longer than the patch is there, and is compared with others that the
    /// kernel has. By the old one the tracer leads to the new one, as long as it is there.
    fn old_address(
        &self,
        section: &PatchSection,
        rela: &Relocation,
        unit: usize,
        symbol: usize,
    ) -> Option<Result<Meaning, Refusal>> {
        if rela.is_branch || is_table(&section.name) {
            return None;
        }
        let to_end = match rela.r_type {
            machine::DISTANCE | machine::BRANCH if section.flags & SHF_EXECINSTR != 0 => machine::TO_NEXT,
            _ => 0,
        };
        let patch = self.units[unit].patch;
        let SymbolPlace::Defined { section: of, offset, .. } = &patch.symbols.get(symbol)?.place else {
            return None;
        };
        let target = offset.checked_add_signed(rela.addend)?.checked_add(to_end)?;
        let old = patch.symbols.iter().find_map(|s| match &s.place {
            SymbolPlace::Defined { section, offset, replaces: Some(old), .. }
                if section == of && *offset == target =>
            {
                Some(old)
            }
            _ => None,
        })?;
        let of = References {
            unit: self.units[unit].name,
            object: &self.units[unit].object,
            located: &self.located[unit],
            context: self.references.context,
        };
        Some(of.old_function(old).map(|(meaning, _)| meaning))
    }

    fn static_call(
        &mut self,
        section: &PatchSection,
        rela: &Relocation,
        goal: &Goal,
    ) -> Option<(u64, StaticCall)> {
        let Goal::Shipped(trampoline) = goal else { return None };
        let name = static_calls::key_of(&trampoline.name)?;
        let (site, is_tail) = static_calls::site(section, rela)?;
        let own = self.references.located.original.symbol(&name).is_some();
        let key = if own { self.references.existing(&name) } else { self.references.elsewhere(&name) };
        let key = match key {
            Ok(key) => key,
            Err(refusal) => {
                self.add(refusal);
                return None;
            }
        };
        if matches!(key.by, Some(KernelObject::Module(_))) {
            let why = "the kernel reads the list of static calls before it resolves references into modules";
            self.refuse("a static call of a module", &name, why, "leave this call out");
        }
        Some((site, StaticCall { key: Goal::Shipped(key), is_tail }))
    }
}

impl References<'_> {
    /// A function of the unit that is replaced, and whether the kernel can redirect it.
    fn old_function(&self, name: &str) -> Result<(Meaning, bool), Refusal> {
        let original = &self.located.original;
        let state = original.symbol(name).and_then(|s| self.located.functions.get(&s));
        let why = match state {
            Some(State::Same(address)) => {
                let traceable = self.located.shipped.is_traceable(*address);
                return self.at(name, *address).map(|meaning| (meaning, traceable));
            }
            Some(State::Several(_)) => {
                "the kernel has several functions of that name with the same code, and nothing tells which \
                 of \
                 them is meant"
            }
            Some(State::Differs(_)) => "the shipped function of that name has other code",
            Some(State::Missing) | None => "no function of that name is there",
        };
        let place = format!("{name} ({})", self.unit);
        let remedy = "see that source, configuration and compiler are those of the shipped kernel";
        Err(refusal("the function to replace is not found", place, why, remedy))
    }
}
