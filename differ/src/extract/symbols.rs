//! The symbols of a patch object.

use std::collections::HashMap;

use super::reach::stays;
use crate::atoms::{AtomKind, Atoms, Target};
use crate::correlate::Pairs;
use crate::model::{Binding, PatchSymbol, SymbolPlace, SymbolType, Visibility};
use crate::unit::DefinedIn;
use crate::verdict::Verdict;

pub(super) struct Symbols<'a> {
    old: &'a Atoms<'a>,
    new: &'a Atoms<'a>,
    pairs: &'a Pairs,
    of_atom: HashMap<usize, usize>,
    of_symbol: HashMap<usize, usize>,
}

impl<'a> Symbols<'a> {
    pub(super) fn new(old: &'a Atoms<'a>, new: &'a Atoms<'a>, pairs: &'a Pairs) -> Self {
        Symbols { old, new, pairs, of_atom: HashMap::new(), of_symbol: HashMap::new() }
    }

    /// Adds the symbols of a shipped atom; the first one is its key.
    pub(super) fn define(
        &mut self,
        id: usize,
        section: usize,
        verdict: &Verdict,
        out: &mut Vec<PatchSymbol>,
    ) {
        self.of_atom.insert(id, out.len());
        let atom = self.new.atom(id);
        if atom.kind == AtomKind::Anonymous && atom.names.is_empty() {
            out.push(PatchSymbol {
                name: self.new.section(id).name.to_string(),
                binding: Binding::Local,
                visibility: Visibility::Default,
                stype: SymbolType::Section,
                place: SymbolPlace::Defined {
                    section,
                    offset: 0,
                    size: atom.size(),
                    replaces: None,
                    old_fragments: Vec::new(),
                },
            });
            return;
        }
        let is_part = verdict.parent.contains_key(&id);
        let has_entry = atom.kind == AtomKind::Function && !is_part && !verdict.entryless.contains(&id);
        let replaced = self.pairs.old_of[id].filter(|_| has_entry);
        for (index, &symbol) in atom.names.iter().enumerate() {
            let symbol = self.new.symbol(symbol);
            if index > 0 && symbol.stype == SymbolType::None {
                continue;
            }
            let replaces = if index == 0 {
                replaced.map(|old| self.old.name(old).to_owned())
            } else {
                verdict.extra_replaced.contains(symbol.name).then(|| symbol.name.to_owned())
            };
            let old_fragments = match &replaces {
                Some(_) if index == 0 => verdict.old_fragments.get(&id).cloned().unwrap_or_default(),
                _ => Vec::new(),
            };
            out.push(PatchSymbol {
                name: symbol.name.to_owned(),
                binding: symbol.binding,
                visibility: symbol.visibility,
                stype: symbol.stype,
                place: SymbolPlace::Defined {
                    section,
                    offset: atom.padding,
                    size: if symbol.size == 0 { atom.size() } else { symbol.size },
                    replaces,
                    old_fragments,
                },
            });
        }
    }

    /// The symbol for a target, and the offset from it.
    pub(super) fn of(&mut self, target: Target, out: &mut Vec<PatchSymbol>) -> Option<(usize, i64)> {
        match target {
            Target::Symbol { symbol, offset } => {
                if self.new.symbol(symbol).home == DefinedIn::Absolute {
                    return None;
                }
                let index = *self.of_symbol.entry(symbol).or_insert_with(|| {
                    let s = self.new.symbol(symbol);
                    let place = if s.stype == SymbolType::IFunc {
                        // A new symbol of this kind was refused, so the original has it under the same name.
                        SymbolPlace::Existing { orig_name: s.name.to_owned(), is_function: true }
                    } else {
                        SymbolPlace::Undefined
                    };
                    out.push(PatchSymbol {
                        name: s.name.to_owned(),
                        binding: s.binding,
                        visibility: s.visibility,
                        stype: s.stype,
                        place,
                    });
                    out.len() - 1
                });
                Some((index, offset))
            }
            Target::Atom { atom, offset } => {
                if let Some(&index) = self.of_atom.get(&atom) {
                    return Some((index, offset));
                }
                if let Some((neighbour, distance)) = stays(self.old, self.new, atom) {
                    out.push(PatchSymbol {
                        name: self.new.section(atom).name.to_string(),
                        binding: Binding::Local,
                        visibility: Visibility::Default,
                        stype: SymbolType::None,
                        place: SymbolPlace::Beside { neighbour: neighbour.to_owned(), distance },
                    });
                    self.of_atom.insert(atom, out.len() - 1);
                    return Some((out.len() - 1, offset));
                }
                let old = self.pairs.old_of[atom]?;
                let s = self.new.primary(atom)?;
                out.push(PatchSymbol {
                    name: s.name.to_owned(),
                    binding: s.binding,
                    visibility: s.visibility,
                    stype: s.stype,
                    place: SymbolPlace::Existing {
                        orig_name: self.old.name(old).to_owned(),
                        is_function: self.new.atom(atom).kind == AtomKind::Function,
                    },
                });
                self.of_atom.insert(atom, out.len() - 1);
                Some((out.len() - 1, offset))
            }
        }
    }
}
