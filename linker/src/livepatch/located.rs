//! Finds where the symbols of a unit are in the shipped object.
//!
//! A name alone does not decide: 320 names of functions of a kernel stand for 950 functions. A function is
//! where its code is, and what it refers to is where its fields lead.

use std::collections::{BTreeMap, HashMap};

use super::compare::{Difference, compare};
use super::original::{Original, Piece};
use super::shipped::Shipped;
use crate::elf::{PlainPlace, STB_LOCAL, STB_WEAK, STT_FUNC};

/// What is known of a function of the unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// At this address, byte for byte.
    Same(u64),
    /// At none of the addresses of its name; the difference at the first of them.
    Differs(Difference),
    /// At several addresses.
    Several(Vec<u64>),
    /// Its name is not there.
    Missing,
}

/// The symbols of a unit with their addresses.
#[derive(Debug)]
pub(super) struct Located<'a> {
    pub(super) original: Original,
    pub(super) shipped: Shipped<'a>,
    /// By symbol.
    pub(super) functions: BTreeMap<usize, State>,
    /// Where fields of shipped functions lead.
    observed: HashMap<usize, u64>,
    /// Symbols that fields of shipped functions give different addresses.
    contradictory: Vec<usize>,
}

impl<'a> Located<'a> {
    pub(super) fn new(original: Original, shipped: Shipped<'a>) -> Self {
        let mut located = Self {
            original,
            shipped,
            functions: BTreeMap::new(),
            observed: HashMap::new(),
            contradictory: Vec::new(),
        };
        located.compare_all();
        located.follow_data();
        // What was decided tells more.
        while located.decide() {
            located.follow_data();
        }
        located
    }

    /// The address of a symbol of the unit; `None` where nothing tells it.
    pub(super) fn address(&self, symbol: usize) -> Option<u64> {
        if self.contradictory.contains(&symbol) {
            return None;
        }
        if let Some(State::Same(address)) = self.functions.get(&symbol) {
            return Some(*address);
        }
        if let Some(address) = self.observed.get(&symbol) {
            return Some(*address);
        }
        match self.shipped.named(&self.original.object.symbols.get(symbol)?.name).as_slice() {
            [one] => Some(*one),
            several => self.between(symbol, several),
        }
    }

    fn compare_all(&mut self) {
        let functions: Vec<usize> = self.original.functions().map(|(i, _)| i).collect();
        for symbol in functions {
            let name = &self.original.object.symbols[symbol].name;
            let Some(piece) = self.original.piece(symbol) else { continue };
            let all = self.shipped.named(name);
            let there: Vec<u64> = all.into_iter().filter(|a| self.shipped.is_code(*a)).collect();
            let mut same = Vec::new();
            let mut difference = None;
            for address in &there {
                match compare(&self.original, self.shipped, piece, *address) {
                    Ok(observed) => same.push((*address, observed)),
                    Err(d) => difference = difference.or(Some(d)),
                }
            }
            let state = match (same.len(), difference) {
                (0, None) => State::Missing,
                (0, Some(difference)) => State::Differs(difference),
                (1, _) => State::Same(same[0].0),
                _ => State::Several(same.iter().map(|(a, _)| *a).collect()),
            };
            if let [(_, observed)] = same.as_slice() {
                for (symbol, address) in observed {
                    self.observe(*symbol, *address);
                }
            }
            self.functions.insert(symbol, state);
        }
    }

    fn observe(&mut self, symbol: usize, address: u64) {
        if *self.observed.entry(symbol).or_insert(address) != address {
            self.contradictory.push(symbol);
        }
    }

    /// Data that holds addresses tells more of them, such as the functions of a table.
    fn follow_data(&mut self) {
        let mut todo: Vec<(usize, u64)> = self.observed.iter().map(|(s, a)| (*s, *a)).collect();
        let data = self.original.object.symbols.iter().enumerate();
        let data: Vec<usize> = data.filter(|(_, s)| s.kind != STT_FUNC).map(|(i, _)| i).collect();
        for symbol in data {
            let named = &self.original.object.symbols[symbol];
            if let (PlainPlace::Section(_), [one]) = (named.place, &*self.shipped.named(&named.name))
                && !self.observed.contains_key(&symbol)
            {
                todo.push((symbol, *one));
            }
        }
        while let Some((symbol, address)) = todo.pop() {
            let Some(piece) = self.original.piece(symbol) else { continue };
            if self.original.object.symbols[symbol].kind == STT_FUNC {
                continue;
            }
            for (symbol, address) in self.fields_of_data(piece, address) {
                if !self.observed.contains_key(&symbol) {
                    todo.push((symbol, address));
                    self.observe(symbol, address);
                }
            }
        }
    }

    fn fields_of_data(&self, piece: Piece, address: u64) -> Vec<(usize, u64)> {
        let fields = self.original.fields(piece).unwrap_or_default();
        let leads = |field: &super::original::Field| {
            let super::original::Target::Symbol(symbol, distance) = field.target else { return None };
            let at = address.wrapping_add(field.offset - piece.start);
            let to = self.shipped.leads_to(at, field)?.wrapping_sub(distance.cast_unsigned());
            let name = &self.original.object.symbols[symbol].name;
            self.shipped.named(name).contains(&to).then_some((symbol, to))
        };
        fields.iter().filter_map(leads).collect()
    }

    /// Tells which of several equal functions is the unit's: the one that its other functions and data lead
    /// to, or the one among them.
    fn decide(&mut self) -> bool {
        let open: Vec<(usize, Vec<u64>)> = self
            .functions
            .iter()
            .filter_map(|(s, state)| match state {
                State::Several(there) => Some((*s, there.clone())),
                _ => None,
            })
            .collect();
        let mut decided = false;
        for (symbol, there) in open {
            let observed = self.observed.get(&symbol).filter(|a| there.contains(a)).copied();
            let Some(address) = observed.or_else(|| self.between(symbol, &there)) else { continue };
            self.functions.insert(symbol, State::Same(address));
            let piece = self.original.piece(symbol);
            let fields = piece.and_then(|p| compare(&self.original, self.shipped, p, address).ok());
            for (symbol, address) in fields.unwrap_or_default() {
                self.observe(symbol, address);
            }
            decided = true;
        }
        decided
    }

    /// The only one of several addresses that lies among the unit's own functions or data. What one unit has
    /// in a section is linked in one piece.
    fn between(&self, symbol: usize, there: &[u64]) -> Option<u64> {
        let named = &self.original.object.symbols[symbol];
        let by_file: Vec<u64> = there
            .iter()
            .copied()
            .filter(|a| {
                let file = self.shipped.file(&named.name, *a);
                named.binding == STB_LOCAL && file.is_some() && file == self.original.file()
            })
            .collect();
        if let [one] = by_file.as_slice() {
            return Some(*one);
        }
        let group = self.group(symbol)?;
        let same_group = |s: &&usize| **s != symbol && self.group(**s) == Some(group);
        let functions = self.functions.iter().filter_map(|(s, state)| match state {
            State::Same(address) => Some((s, *address)),
            _ => None,
        });
        let known = functions.chain(self.observed.iter().map(|(s, a)| (s, *a)));
        let own = known.filter(|(s, _)| same_group(s)).map(|(_, a)| a);
        let own = own.filter(|a| self.shipped.is_code(*a) == self.shipped.is_code(there[0]));
        let (first, last) = own.fold((u64::MAX, 0), |(first, last), a| (first.min(a), last.max(a)));
        let inside: Vec<u64> = there.iter().copied().filter(|a| (first..=last).contains(a)).collect();
        match inside.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// The section that a symbol is in without sections for each function and datum.
    fn group(&self, symbol: usize) -> Option<&str> {
        let named = self.original.object.symbols.get(symbol)?;
        let PlainPlace::Section(section) = named.place else { return None };
        if named.binding == STB_WEAK {
            return None;
        }
        let name = &self.original.section(section)?.name;
        Some(name.strip_suffix(&named.name).and_then(|n| n.strip_suffix('.')).unwrap_or(name))
    }
}
