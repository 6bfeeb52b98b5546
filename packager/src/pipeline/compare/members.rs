//! Of the archive members that only the patched link took, those that the patch needs.

use super::analysis::Analysis;
use crate::units::Compared;
use differ::{Binding, PatchObject, SymbolPlace};
use std::collections::HashSet;

/// The units of `units` (indices in [`Analysis::pairs`]) that make up a patch: a member of an archive that
/// nobody compiles is one only where another of them needs what it defines.
pub(super) fn needed(units: &[usize], analysis: &Analysis<'_>) -> Vec<usize> {
    let member = |i: &usize| analysis.pairs[*i].prebuilt.is_some();
    let mut chosen: HashSet<usize> = units.iter().copied().filter(|i| !member(i)).collect();
    let mut todo: Vec<usize> = chosen.iter().copied().collect();
    while let Some(unit) = todo.pop() {
        let Some(patch) = &analysis.compared[unit].diff.patch else { continue };
        for name in undefined(patch) {
            let provides = |i: &&usize| member(i) && defines(&analysis.compared[**i], name);
            if let Some(other) = units.iter().find(provides)
                && chosen.insert(*other)
            {
                todo.push(*other);
            }
        }
    }
    units.iter().copied().filter(|i| chosen.contains(i)).collect()
}

fn undefined(patch: &PatchObject) -> impl Iterator<Item = &str> {
    patch.symbols.iter().filter(|s| s.place == SymbolPlace::Undefined).map(|s| s.name.as_str())
}

fn defines(member: &Compared, name: &str) -> bool {
    match &member.diff.patch {
        Some(patch) => patch.symbols.iter().any(|s| {
            s.name == name && s.binding != Binding::Local && matches!(s.place, SymbolPlace::Defined { .. })
        }),
        // Refused: by the names that it has.
        None => member.diff.functions.iter().chain(&member.diff.objects).any(|c| c.name == name),
    }
}
