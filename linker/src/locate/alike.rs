//! How many functions of a target are those of the rebuild, before it is known which of them a fix changes.

use std::collections::BTreeSet;

use crate::elf::{ParsedElf, STT_FUNC};
use crate::locate::translate::{LinkedSymbol, TargetAddresses};

/// Of the functions with these names in the linked file, without versions (`@`): how many are the same in the
/// target, and how many there are.
pub fn functions_alike(
    linked: &ParsedElf<'_>,
    target: &dyn TargetAddresses,
    names: &BTreeSet<String>,
) -> (usize, usize) {
    let symbols = &linked.0.symbols;
    let of_names = |s: &&crate::elf::Symbol| {
        s.kind == STT_FUNC && s.is_defined() && s.size > 0 && names.contains(plain(&s.name))
    };
    let functions: Vec<_> = symbols.iter().filter(of_names).collect();
    let is_there = |s: &&&crate::elf::Symbol| {
        let file = s.file.and_then(|i| symbols.get(i)).map_or("", |f| f.name.as_str());
        let symbol =
            LinkedSymbol { name: plain(&s.name), file, address: s.value, size: s.size, function: true };
        target.translate(symbol).is_ok()
    };
    (functions.iter().filter(is_there).count(), functions.len())
}

/// The name without the version that `.symver` puts behind it.
fn plain(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}
