//! The names of symbols in the parts. Kbuild links them into one object, so one name has one meaning there.
//! Where it can be, it is the plain name: `objtool` and `modpost` know functions by their names.

use std::collections::{BTreeMap, HashMap, HashSet};

use differ::{Binding, SymbolPlace, SymbolType};

use super::plan::{Goal, Plan};
use super::references::Meaning;

/// The names that were given.
pub(super) struct Names {
    /// Other names than their own, by unit and symbol.
    defined: HashMap<(usize, usize), String>,
    references: BTreeMap<Meaning, String>,
}

impl Names {
    pub(super) fn give(plan: &Plan<'_>) -> Self {
        let mut names = Self { defined: HashMap::new(), references: BTreeMap::new() };
        let mut taken = HashSet::new();
        for unit in &plan.units {
            for symbol in &unit.unit.patch.symbols {
                let is_new = matches!(&symbol.place, SymbolPlace::Defined { replaces: None, .. });
                if is_new && symbol.binding != Binding::Local && symbol.stype != SymbolType::Section {
                    taken.insert(symbol.name.clone());
                }
            }
        }
        let mut number = 0;
        let mut unique = |name: &str, taken: &mut HashSet<String>| loop {
            number += 1;
            let name = format!("{name}.upatch{number}");
            if taken.insert(name.clone()) {
                return name;
            }
        };
        for (at, unit) in plan.units.iter().enumerate() {
            for replaced in &unit.replaced {
                let name = &unit.unit.patch.symbols[replaced.symbol].name;
                if !taken.insert(name.clone()) {
                    let other = unique(name, &mut taken);
                    names.rename_cold_part(plan, at, name, &other);
                    names.defined.insert((at, replaced.symbol), other);
                }
            }
        }
        let mut meanings: Vec<&Meaning> = plan.units.iter().flat_map(|u| u.shipped_goals()).collect();
        // What is exported is known by its name alone.
        meanings.sort_by_key(|m| m.by.is_some());
        for meaning in meanings {
            if names.references.contains_key(meaning) {
                continue;
            }
            let name = &meaning.name;
            let is_free = meaning.by.is_none() || !plan.context.symvers.is_open(name);
            let name = if is_free && taken.insert(name.clone()) || meaning.by.is_none() {
                name.clone()
            } else {
                unique(name, &mut taken)
            };
            names.references.insert(meaning.clone(), name);
        }
        names
    }

    /// `objtool` finds the function of a cold part by the names of both.
    fn rename_cold_part(&mut self, plan: &Plan<'_>, unit: usize, name: &str, other: &str) {
        for (index, symbol) in plan.units[unit].unit.patch.symbols.iter().enumerate() {
            if let Some(rest) = symbol.name.strip_prefix(name).filter(|rest| rest.starts_with(".cold")) {
                self.defined.insert((unit, index), format!("{other}{rest}"));
            }
        }
    }

    /// The name of a symbol that a unit defines, which has `own` for its own name.
    pub(super) fn defined(&self, unit: usize, symbol: usize, own: &str) -> String {
        self.defined.get(&(unit, symbol)).cloned().unwrap_or_else(|| own.to_owned())
    }

    /// The name of an undefined symbol.
    pub(super) fn reference(&self, meaning: &Meaning) -> Option<&str> {
        self.references.get(meaning).map(String::as_str)
    }

    /// All undefined symbols.
    pub(super) fn references(&self) -> impl Iterator<Item = (&Meaning, &str)> {
        self.references.iter().map(|(meaning, name)| (meaning, name.as_str()))
    }
}

impl super::plan::PlannedUnit<'_> {
    /// What the references into the shipped kernel mean, in the order of the unit.
    fn shipped_goals(&self) -> impl Iterator<Item = &Meaning> {
        let keys = self.static_calls.iter().map(|(_, _, call)| &call.key);
        self.goals.iter().flatten().chain(keys).filter_map(|goal| match goal {
            Goal::Shipped(meaning) | Goal::Beside(meaning, _) => Some(meaning),
            Goal::Own(_) | Goal::Unit { .. } | Goal::Nothing(_) => None,
        })
    }
}
