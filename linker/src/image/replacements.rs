//! Which functions of the target the new ones replace.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use differ::{Binding, PatchSymbol, Refusal, SymbolPlace, SymbolType, Warning};

use super::inputs::{Inputs, Unit};
use crate::chunks::Place;
use crate::elf::{STB_LOCAL, STT_GNU_IFUNC};
use crate::error::refusal;
use crate::locate::linked::{LinkedDefinition, is_function};

/// A function to redirect.
#[derive(Clone, Debug)]
pub(crate) struct Replacement {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// Index of the unit.
    pub(crate) owner: usize,
    /// In the target.
    pub(crate) old: u64,
    pub(crate) old_size: u64,
    /// Bytes in the linked file up to the next thing there.
    pub(crate) reach: u64,
    pub(crate) new: Place,
    pub(crate) new_size: u64,
    pub(crate) fragments: Vec<(u64, u64)>,
}

/// What replaces what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replaced {
    /// The new code by the old address in the target.
    pub(crate) new: HashMap<u64, Place>,
    /// The old address in the target by the symbol that replaces it: unit and symbol index.
    pub(crate) by: HashMap<(usize, usize), u64>,
}

/// Finds the old function of each new one.
pub(crate) fn replacements(
    inputs: &Inputs<'_, '_>,
    refused: &mut Vec<Refusal>,
    warnings: &mut Vec<Warning>,
) -> (Vec<Replacement>, Replaced) {
    let (mut found, mut replaced) = (Vec::new(), Replaced::default());
    for (u, unit) in inputs.units.iter().enumerate() {
        for (i, symbol) in unit.patch.symbols.iter().enumerate() {
            let SymbolPlace::Defined { section, offset, size, replaces, old_fragments } = &symbol.place
            else {
                continue;
            };
            let Some(&chunk) = unit.chunks.get(*section) else { continue };
            let new = Place::Chunk { chunk, offset: *offset };
            let Some(old) = replaces else {
                match displaced(inputs, (u, unit), symbol, new, *size) {
                    Some(Ok(r)) => {
                        replaced.by.insert((u, i), r.old);
                        replaced.new.insert(r.old, new);
                        found.push(r);
                    }
                    Some(Err(refusal)) => refused.push(refusal),
                    None => {}
                }
                continue;
            };
            match replacement(inputs, (u, unit), old, old_fragments, new, *size) {
                Ok(Some(r)) => {
                    replaced.by.insert((u, i), r.old);
                    // A function that several units hold a copy of, or one with two names, is redirected
                    // once.
                    if let Entry::Vacant(entry) = replaced.new.entry(r.old) {
                        entry.insert(new);
                        found.push(r);
                    } else if let Some(first) = found.iter_mut().find(|f: &&mut Replacement| f.old == r.old) {
                        first.fragments.extend(
                            r.fragments
                                .iter()
                                .filter(|f| !first.fragments.contains(f))
                                .copied()
                                .collect::<Vec<_>>(),
                        );
                    }
                }
                Ok(None) => warnings.push(Warning {
                    what: NOT_IN_FILE.to_owned(),
                    place: format!("{old} ({})", unit.name),
                    why: "the original link left it out or took another definition, so nothing calls it here"
                        .to_owned(),
                }),
                Err(refusal) => refused.push(refusal),
            }
        }
    }
    (found, replaced)
}

/// What the warning is called that a changed function does not count here.
pub const NOT_IN_FILE: &str = "changed function is not in this file";

/// A function that is new in its unit and takes the place of another unit's: its definition moved, or
/// overrides a weak one.
fn displaced(
    inputs: &Inputs<'_, '_>,
    (owner, unit): (usize, &Unit<'_>),
    symbol: &PatchSymbol,
    new: Place,
    new_size: u64,
) -> Option<Result<Replacement, Refusal>> {
    let wanted = symbol.binding != Binding::Local
        && symbol.stype == SymbolType::Function
        && inputs.moved.displaced.contains(&symbol.name);
    let found = inputs.linked.global(&symbol.name).ok().flatten().filter(|_| wanted)?;
    let place = format!("{} ({})", symbol.name, unit.name);
    if !is_function(found.kind) || found.kind == STT_GNU_IFUNC {
        let why = "in the running program its name is no plain function";
        return Some(Err(refusal("definition that moved", place, why, "give the new function another name")));
    }
    let mut fragments = Vec::new();
    for (part, file) in inputs.linked.locals(&format!("{}.cold", symbol.name)) {
        let found = LinkedDefinition { value: part.value, size: part.size, kind: part.kind, absolute: false };
        match inputs.translate(&part.name, file, &found) {
            Ok(address) => fragments.push((address, part.size)),
            Err(refusal) => return Some(Err(refusal)),
        }
    }
    let next = inputs.linked.next_symbol(found.value);
    Some(inputs.translate(&symbol.name, "", &found).map(|old| Replacement {
        name: symbol.name.clone(),
        unit: unit.name.to_owned(),
        owner,
        old,
        old_size: found.size,
        reach: inputs.addresses.reach(old, next.map(|next| next - found.value)),
        new,
        new_size,
        fragments,
    }))
}

fn replacement(
    inputs: &Inputs<'_, '_>,
    (owner, unit): (usize, &Unit<'_>),
    old: &str,
    old_fragments: &[String],
    new: Place,
    new_size: u64,
) -> Result<Option<Replacement>, Refusal> {
    let place = || format!("{old} ({})", unit.name);
    let Some(located) = &unit.located else {
        return Err(refusal("new unit replaces a function", place(), "it has no original", "report it"));
    };
    let folded = |other: &str| {
        refusal(
            "function that the linker folded",
            place(),
            format!("the target has one code for it and for {other}, which would change too"),
            "leave the function unchanged, and let what has to change call a new one in its place",
        )
    };
    let Some(at) = located.locate(old, inputs.linked)? else {
        // Gold leaves no trace of a local function that it folded.
        return if inputs.options.folds { Err(folded("an equal function (`--icf`)")) } else { Ok(None) };
    };
    if at.overridden {
        return Ok(None);
    }
    if at.found.kind == STT_GNU_IFUNC {
        return Err(refusal(
            "indirect function changed",
            place(),
            "its inputs has run already",
            "change the implementation that the inputs chose instead",
        ));
    }
    if let (true, Some((section, size))) = (inputs.options.folds, located.section_of(old)) {
        let equal = |(name, s): &&(String, u64)| name.starts_with(".text") && *s == size && name != section;
        if let Some((name, _)) = inputs.linked.map.discarded.iter().find(equal) {
            return Err(folded(&format!("perhaps also for {name}, which the linker left out (`--icf`)")));
        }
    }
    let aliases: HashSet<&str> =
        located.aliases(old).into_iter().map(|n| n.split('@').next().unwrap_or(n)).collect();
    let other = |name: &&str| *name != at.name && !aliases.contains(name);
    if let Some(other) = inputs.linked.functions_at(at.found.value).find(other) {
        return Err(folded(&format!("`{other}`")));
    }
    let file = if at.binding == STB_LOCAL { at.file.as_str() } else { "" };
    let address = inputs.translate(&at.name, file, &at.found)?;
    let next = inputs.linked.next_symbol(at.found.value);
    let reach = inputs.addresses.reach(address, next.map(|next| next - at.found.value));
    let mut fragments = Vec::new();
    for name in old_fragments {
        if let Some(part) = located.locate(name, inputs.linked)? {
            let file = if part.binding == STB_LOCAL { part.file.as_str() } else { "" };
            let range = (inputs.translate(&part.name, file, &part.found)?, part.found.size);
            if range.0 != address && !fragments.contains(&range) {
                fragments.push(range);
            }
        }
    }
    Ok(Some(Replacement {
        name: old.to_owned(),
        unit: unit.name.to_owned(),
        owner,
        old: address,
        old_size: at.found.size,
        reach,
        new,
        new_size,
        fragments,
    }))
}
