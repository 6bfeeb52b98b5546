//! Keeps for each static local the function that it belongs to, from the debug information. Inlining does not
//! change it.

use std::collections::HashMap;

use crate::atoms::{AtomKind, Atoms};
use crate::debug::Static;
use crate::symbol_names;

/// Scope of each static local, by atom.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    /// Function, number in the order of declaration, line.
    by_atom: HashMap<usize, (String, usize, u64)>,
}

impl Scopes {
    /// Takes the scopes out of the debug information.
    pub(crate) fn new(all: &Atoms, statics: &[Static]) -> Scopes {
        let mut by_atom = HashMap::new();
        for (order, s) in statics.iter().enumerate() {
            let found = all.find(s.section, s.offset.cast_signed());
            if let Some(id) = found.filter(|&id| all.atom(id).start == s.offset) {
                by_atom.entry(id).or_insert((s.function.clone(), order, s.line));
            }
        }
        Scopes { by_atom }
    }

    /// The function that the variable is local to, `None` when the debug information does not say.
    pub(crate) fn of(&self, id: usize) -> Option<&str> {
        self.by_atom.get(&id).map(|(scope, ..)| scope.as_str())
    }

    /// Its place in the order of declaration.
    pub(crate) fn order(&self, id: usize) -> usize {
        self.by_atom.get(&id).map_or(usize::MAX, |(_, order, _)| *order)
    }

    /// Line of its declaration. The patched source is compiled so that unchanged lines keep their numbers.
    pub(crate) fn line(&self, id: usize) -> Option<u64> {
        self.by_atom.get(&id).map(|(.., line)| *line).filter(|line| *line > 0)
    }
}

/// Whether the unit has variables that only their scopes tell apart.
pub(crate) fn needed(all: &Atoms) -> bool {
    (0..all.atoms.len()).any(|id| {
        all.atom(id).kind == AtomKind::Object
            && !all.section(id).is_read_only()
            && !all.is_global(id)
            && symbol_names::parse(all.name(id)).numbered
    })
}
