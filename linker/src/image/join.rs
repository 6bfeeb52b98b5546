//! The phases of a link, each from what the earlier ones found.

use std::collections::{HashMap, HashSet};

use differ::{Binding, PatchSymbol, Refusal, SectionKind, SymbolPlace, SymbolType, Warning};
use patchfile::Arch;
use patchfile::image::{Image, Redirect, Symbol, Unwind};

use crate::chunks::chunk::{Chunk, Place};
use crate::chunks::frames;
use crate::chunks::pool::Pieces;
use crate::elf::{EM_X86_64, STB_LOCAL, STT_GNU_IFUNC};
use crate::error::{LinkError, refusal};
use crate::image::exports;
use crate::image::hooks;
use crate::image::input::{ChangedFunction, LinkInput, LinkOutput, NewSymbol};
use crate::image::inside::Inside;
use crate::image::layout::{Layout, lay_out};
use crate::image::new_tls::NewTls;
use crate::image::padding::Padding;
use crate::image::redirect::{self, Entry, OldFunction};
use crate::image::relocate;
use crate::image::resolve::{Resolver, Unit};
use crate::image::settled;
use crate::image::target::TargetElf;
use crate::locate::command_line::Options;
use crate::locate::linked::{Found, Linked, is_function};
use crate::locate::map::LinkMap;
use crate::locate::unit::Placement;

/// A function to redirect.
#[derive(Clone, Debug)]
struct Replacement {
    name: String,
    unit: String,
    /// Index of the unit.
    owner: usize,
    /// In the target.
    old: u64,
    old_size: u64,
    /// Bytes in the linked file up to the next thing there.
    reach: u64,
    new: Place,
    new_size: u64,
    fragments: Vec<(u64, u64)>,
}

/// Joins the patch objects of one ELF file.
///
/// # Errors
/// [`LinkError::Refused`] with every reason why the change cannot be live-patched; otherwise when an input is damaged or inputs
/// contradict each other.
pub fn link(input: &LinkInput<'_>) -> Result<LinkOutput, LinkError> {
    let map = input.map.map(LinkMap::parse).unwrap_or_default();
    let linked = Linked::new(crate::elf::Elf::parse(input.linked, "linked ELF")?, map);
    let target = TargetElf::parse(input.target)?;
    let mut pieces = Pieces::new();
    let units = read_units(input, &linked, &mut pieces)?;
    let (mut refused, mut warnings) = (second_copies(input, &linked), Vec::new());
    let mut resolver = Resolver {
        linked: &linked,
        target: &target,
        addresses: input.addresses,
        libraries: input.libraries,
        replaced: HashMap::new(),
        old: HashMap::new(),
        globals: globals(&units)?,
        options: Options::read(input.record.expanded_argv.iter().map(|a| a.as_bytes())),
        optimised: input.record.lto,
        elsewhere: input.elsewhere,
        new_tls: NewTls::default(),
        inside: Inside::default(),
    };
    let replacements = replacements(&mut resolver, &units, &mut refused, &mut warnings);
    let code = |r: &Replacement| std::iter::once((r.old, r.old_size)).chain(r.fragments.clone());
    resolver.inside = Inside::new(replacements.iter().flat_map(code).collect());
    resolver.new_tls = NewTls::plan(&resolver, &units, &mut pieces, &mut refused, &mut warnings);
    for (u, unit) in units.iter().enumerate() {
        for index in 0..unit.patch.sections.len() {
            relocate::section(&resolver, &units, u, index, &mut pieces, &mut refused);
        }
    }
    let (entries, short) = entries(&replacements, (&linked, &target), &mut refused);
    if !refused.is_empty() {
        refused.extend(short.into_iter().map(|(refusal, _)| refusal));
        return Err(LinkError::Refused(refused));
    }
    if !short.is_empty() {
        let (refusals, functions) = short.into_iter().unzip();
        return Err(LinkError::NoRoom { refusals, functions });
    }
    let placed = place_entries(&replacements, entries, &mut pieces);
    let size = lay_out(&pieces.chunks, replacements.len())?.size();
    pieces.set_size(size);
    let mut layout = lay_out(&pieces.chunks, replacements.len())?;
    let relocations = layout.settle(&pieces.chunks)?;
    let redirects = redirects(&replacements, &placed, &layout)?;
    let lsda =
        units.iter().any(|u| u.patch.sections.iter().any(|s| s.kind == SectionKind::Lsda && s.size > 0));
    let register = lsda || input.units.iter().any(|u| u.cplusplus) || unwinds(&target, &linked);
    let unwind =
        layout.eh_frame.map(|(eh_frame, eh_frame_size)| Unwind { eh_frame, eh_frame_size, register });
    let (mut exports, mut shared) = (Vec::new(), Vec::new());
    if let Some(patched) = input.patched {
        let patched = crate::elf::Elf::parse(patched, "ELF file of the patched build")?;
        exports = exports::added(&patched, &resolver, &units, &layout);
        shared = exports::shared(&patched, &resolver, &units);
    }
    let places = settled::settled(input, &units, &resolver, &layout);
    let image = Image {
        arch: Arch::X86_64,
        target: target.identity(input.name),
        redirects,
        references: pieces.references,
        relocations,
        symbols: symbols(&units, &layout),
        unwind,
        hooks: hooks::collect(&units, &layout),
        exports,
        segments: layout.segments,
    };
    let changed = replacements
        .into_iter()
        .map(|r| ChangedFunction {
            name: r.name,
            unit: r.unit,
            old: r.old,
            old_size: r.old_size,
            new_size: r.new_size,
        })
        .collect();
    let new = new_symbols(&units, &linked);
    Ok(LinkOutput { image, changed, new, warnings, used: pieces.used, shared, places })
}

/// Can C code of the target be unwound at run time? A library may be called back from C++; a program does it itself, by name.
fn unwinds(target: &TargetElf<'_>, linked: &Linked<'_>) -> bool {
    const UNWINDERS: [&str; 6] = [
        "backtrace",
        "pthread_cancel",
        "pthread_exit",
        "_Unwind_Backtrace",
        "_Unwind_ForcedUnwind",
        "_Unwind_RaiseException",
    ];
    if !target.executable {
        return true;
    }
    let own = |name: &&str| !target.elf.symbols.is_empty() && matches!(linked.global(name), Ok(Some(_)));
    UNWINDERS.iter().any(|name| target.imports.contains_key(*name) || own(name))
}

fn read_units<'a>(
    input: &LinkInput<'a>,
    linked: &Linked<'_>,
    pieces: &mut Pieces,
) -> Result<Vec<Unit<'a>>, LinkError> {
    let mut units = Vec::with_capacity(input.units.len());
    for unit in input.units {
        if unit.patch.machine != EM_X86_64 {
            let why = format!("machine {} is not supported", unit.patch.machine);
            return Err(LinkError::Elf { file: unit.name.to_owned(), why });
        }
        let placement = match &unit.original {
            Some(o) => Some(Placement::new(unit.name, o, input.record, linked)?),
            None => None,
        };
        let chunks = unit.patch.sections.iter().map(|section| {
            let (align, size) = match section.kind {
                SectionKind::Text => (section.align.max(16), section.size),
                // Only content to copy; a zeroed variable takes no room.
                SectionKind::Tls => (8, section.data.len() as u64),
                _ => (section.align.max(1), section.size),
            };
            pieces.add(Chunk {
                kind: section.kind,
                align,
                data: section.data.clone(),
                size,
                fixups: Vec::new(),
                name: format!("{} ({})", section.name, unit.name),
            })
        });
        let chunks = chunks.collect();
        units.push(Unit { name: unit.name, patch: unit.patch, placement, chunks });
    }
    Ok(units)
}

/// What archive members would bring although the program has it, from another archive: two copies do not know of each other's state.
fn second_copies(input: &LinkInput<'_>, linked: &Linked<'_>) -> Vec<Refusal> {
    let mut refused = Vec::new();
    for unit in input.units.iter().filter(|u| u.prebuilt) {
        let strong = |s: &&differ::PatchSymbol| {
            s.binding == Binding::Global && matches!(s.place, SymbolPlace::Defined { .. })
        };
        for symbol in unit.patch.symbols.iter().filter(strong) {
            if !matches!(linked.global(&symbol.name), Ok(None)) {
                refused.push(refusal(
                    "archive member that the program has in another form",
                    format!("{} ({})", symbol.name, unit.name),
                    "the original link took what it defines from elsewhere, and the two would not share their state",
                    "leave the order of the archives as it is",
                ));
            }
        }
    }
    refused
}

/// Names that units share: a strong definition before the first weak one.
fn globals(units: &[Unit<'_>]) -> Result<HashMap<String, (usize, usize)>, LinkError> {
    let mut globals: HashMap<String, (usize, usize)> = HashMap::new();
    let mut strong = HashSet::new();
    for (u, unit) in units.iter().enumerate() {
        for (i, symbol) in unit.patch.symbols.iter().enumerate() {
            let section = symbol.stype == SymbolType::Section;
            if section
                || symbol.binding == Binding::Local
                || !matches!(symbol.place, SymbolPlace::Defined { .. })
            {
                continue;
            }
            if symbol.binding == Binding::Global && strong.insert(symbol.name.as_str()) {
                globals.insert(symbol.name.clone(), (u, i));
            } else if symbol.binding == Binding::Global {
                // Hidden inline functions are not marked weak by every compiler, yet each unit has one.
                if !matches!(symbol.visibility, differ::Visibility::Hidden) {
                    let why = format!("{} is defined by two units of the patch", symbol.name);
                    return Err(LinkError::Inconsistent(why));
                }
            } else {
                globals.entry(symbol.name.clone()).or_insert((u, i));
            }
        }
    }
    Ok(globals)
}

/// Finds the old function of each new one.
fn replacements(
    resolver: &mut Resolver<'_, '_>,
    units: &[Unit<'_>],
    refused: &mut Vec<Refusal>,
    warnings: &mut Vec<Warning>,
) -> Vec<Replacement> {
    let mut found = Vec::new();
    for (u, unit) in units.iter().enumerate() {
        for (i, symbol) in unit.patch.symbols.iter().enumerate() {
            let SymbolPlace::Defined { section, offset, size, replaces, old_fragments } = &symbol.place
            else {
                continue;
            };
            let Some(&chunk) = unit.chunks.get(*section) else { continue };
            let new = Place::Chunk { chunk, offset: *offset };
            let Some(old) = replaces else {
                match displaced(resolver, (u, unit), symbol, new, *size) {
                    Some(Ok(r)) => {
                        resolver.old.insert((u, i), r.old);
                        resolver.replaced.insert(r.old, new);
                        found.push(r);
                    }
                    Some(Err(refusal)) => refused.push(refusal),
                    None => {}
                }
                continue;
            };
            match replacement(resolver, (u, unit), old, old_fragments, new, *size) {
                Ok(Some(r)) => {
                    resolver.old.insert((u, i), r.old);
                    // A function that several units hold a copy of, or one with two names, is redirected once.
                    if let std::collections::hash_map::Entry::Vacant(entry) = resolver.replaced.entry(r.old) {
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
                    what: "changed function is not in this file".to_owned(),
                    place: format!("{old} ({})", unit.name),
                    why: "the original link left it out or took another definition, so nothing calls it here"
                        .to_owned(),
                }),
                Err(refusal) => refused.push(refusal),
            }
        }
    }
    found
}

/// A function that is new in its unit and takes the place of another unit's: its definition moved, or overrides a weak one.
fn displaced(
    resolver: &Resolver<'_, '_>,
    (owner, unit): (usize, &Unit<'_>),
    symbol: &PatchSymbol,
    new: Place,
    new_size: u64,
) -> Option<Result<Replacement, Refusal>> {
    let wanted = symbol.binding != Binding::Local
        && symbol.stype == SymbolType::Function
        && resolver.elsewhere.displaced.contains(&symbol.name);
    let found = resolver.linked.global(&symbol.name).ok().flatten().filter(|_| wanted)?;
    let place = format!("{} ({})", symbol.name, unit.name);
    if !is_function(found.kind) || found.kind == STT_GNU_IFUNC {
        let why = "in the running program its name is no plain function";
        return Some(Err(refusal("definition that moved", place, why, "give the new function another name")));
    }
    let mut fragments = Vec::new();
    for (part, file) in resolver.linked.locals(&format!("{}.cold", symbol.name)) {
        let found = Found { value: part.value, size: part.size, kind: part.kind, absolute: false };
        match resolver.translate(&part.name, file, &found) {
            Ok(address) => fragments.push((address, part.size)),
            Err(refusal) => return Some(Err(refusal)),
        }
    }
    let next = resolver.linked.next_symbol(found.value);
    Some(resolver.translate(&symbol.name, "", &found).map(|old| Replacement {
        name: symbol.name.clone(),
        unit: unit.name.to_owned(),
        owner,
        old,
        old_size: found.size,
        reach: resolver.addresses.reach(old, next.map(|next| next - found.value)),
        new,
        new_size,
        fragments,
    }))
}

fn replacement(
    resolver: &Resolver<'_, '_>,
    (owner, unit): (usize, &Unit<'_>),
    old: &str,
    old_fragments: &[String],
    new: Place,
    new_size: u64,
) -> Result<Option<Replacement>, Refusal> {
    let place = || format!("{old} ({})", unit.name);
    let Some(placement) = &unit.placement else {
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
    let Some(at) = placement.locate(old, resolver.linked)? else {
        // Gold leaves no trace of a local function that it folded.
        return if resolver.options.folds { Err(folded("an equal function (`--icf`)")) } else { Ok(None) };
    };
    if at.overridden {
        return Ok(None);
    }
    if at.found.kind == STT_GNU_IFUNC {
        return Err(refusal(
            "indirect function changed",
            place(),
            "its resolver has run already",
            "change the implementation that the resolver chose instead",
        ));
    }
    if let (true, Some((section, size))) = (resolver.options.folds, placement.section_of(old)) {
        let equal = |(name, s): &&(String, u64)| name.starts_with(".text") && *s == size && name != section;
        if let Some((name, _)) = resolver.linked.map.discarded.iter().find(equal) {
            return Err(folded(&format!("perhaps also for {name}, which the linker left out (`--icf`)")));
        }
    }
    let aliases: HashSet<&str> =
        placement.aliases(old).into_iter().map(|n| n.split('@').next().unwrap_or(n)).collect();
    let other = |name: &&str| *name != at.name && !aliases.contains(name);
    if let Some(other) = resolver.linked.functions_at(at.found.value).find(other) {
        return Err(folded(&format!("`{other}`")));
    }
    let file = if at.binding == STB_LOCAL { at.file.as_str() } else { "" };
    let address = resolver.translate(&at.name, file, &at.found)?;
    let next = resolver.linked.next_symbol(at.found.value);
    let reach = resolver.addresses.reach(address, next.map(|next| next - at.found.value));
    let mut fragments = Vec::new();
    for name in old_fragments {
        if let Some(part) = placement.locate(name, resolver.linked)? {
            let file = if part.binding == STB_LOCAL { part.file.as_str() } else { "" };
            let range = (resolver.translate(&part.name, file, &part.found)?, part.found.size);
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

/// A function without room for a jump: why it cannot be redirected, the index of its unit, and its name there.
type Short = (Refusal, (usize, String));

/// Plans every entry.
fn entries(
    replacements: &[Replacement],
    (linked, target): (&Linked<'_>, &TargetElf<'_>),
    refused: &mut Vec<Refusal>,
) -> (Vec<Entry>, Vec<Short>) {
    let mut entries = Vec::with_capacity(replacements.len());
    let mut short = Vec::new();
    let old = |r: &Replacement| OldFunction {
        name: r.name.clone(),
        address: r.old,
        size: r.old_size,
        bytes: target.elf.bytes_from(r.old),
        reach: r.reach,
    };
    let mut padding = Padding::new(linked, target);
    // Who has room at the entry may take it from the padding behind it.
    replacements.iter().for_each(|r| padding.take(redirect::overwritten(&old(r))));
    for r in replacements {
        let old = old(r);
        let ranges = std::iter::once((r.old, r.old_size)).chain(r.fragments.iter().copied());
        let code: Vec<(u64, &[u8])> = ranges
            .map(|(address, size)| {
                let bytes = target.elf.bytes_from(address);
                (address, bytes.get(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or(bytes))
            })
            .collect();
        match redirect::plan(&old, &code, &mut |site| padding.hop(site)) {
            Ok(entry) if entry.resume.is_none() && replacements.len() > 1 => refused.push(refusal(
                "function entry cannot be moved",
                format!("{} ({})", r.name, r.unit),
                "its code branches into its first instructions, or they depend on where they are",
                "change this function alone in a patch of its own",
            )),
            Ok(entry) => entries.push(entry),
            Err(refusal) => short.push((refusal, (r.owner, r.name.clone()))),
        }
    }
    (entries, short)
}

/// Stub and resumption of each redirect: pieces.
fn place_entries(
    replacements: &[Replacement],
    entries: Vec<Entry>,
    pieces: &mut Pieces,
) -> Vec<(Entry, usize, Option<usize>)> {
    let mut described = std::mem::take(&mut pieces.described);
    for (index, chunk) in pieces.chunks.iter().enumerate().filter(|(_, c)| c.name == ".plt") {
        described.push((index, chunk.size, Vec::new()));
    }
    let mut placed = Vec::with_capacity(entries.len());
    for (index, (replacement, mut entry)) in replacements.iter().zip(entries).enumerate() {
        let stub = pieces.add(redirect::stub(index, &replacement.name, replacement.new));
        described.push((stub, pieces.chunks[stub].size, Vec::new()));
        let resume = entry.resume.take().map(|(chunk, steps)| {
            let size = chunk.size;
            let resume = pieces.add(chunk);
            described.push((resume, size, frames::steps(&steps)));
            resume
        });
        placed.push((entry, stub, resume));
    }
    if !described.is_empty() {
        pieces.add(frames::table(&described));
    }
    placed
}

fn redirects(
    replacements: &[Replacement],
    placed: &[(Entry, usize, Option<usize>)],
    layout: &Layout,
) -> Result<Vec<Redirect>, LinkError> {
    let mut redirects = Vec::with_capacity(replacements.len());
    for (r, (entry, stub, resume)) in replacements.iter().zip(placed) {
        let Some(new) = layout.address(r.new) else {
            return Err(LinkError::Inconsistent(format!("{}: the new function has no address", r.name)));
        };
        redirects.push(Redirect {
            name: r.name.clone(),
            old: r.old,
            old_size: r.old_size,
            skip: entry.skip,
            original: entry.original,
            new,
            stub: layout.addresses[*stub],
            resume: resume.map(|chunk| layout.addresses[chunk]),
            fragments: r.fragments.clone(),
            hop: entry.hop,
        });
    }
    Ok(redirects)
}

/// Names of what was shipped, for debuggers.
fn symbols(units: &[Unit<'_>], layout: &Layout) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    for unit in units {
        for symbol in &unit.patch.symbols {
            let function = symbol.stype == SymbolType::Function;
            let named = !symbol.name.is_empty() && (function || symbol.stype == SymbolType::Object);
            let SymbolPlace::Defined { section, offset, size, .. } = &symbol.place else { continue };
            if let (true, Some(&chunk)) = (named, unit.chunks.get(*section)) {
                let address = layout.addresses[chunk] + offset;
                symbols.push(Symbol { name: symbol.name.clone(), address, size: *size, function });
            }
        }
    }
    symbols.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
    symbols.dedup();
    symbols
}

fn new_symbols(units: &[Unit<'_>], linked: &Linked<'_>) -> Vec<NewSymbol> {
    let mut new: Vec<NewSymbol> = Vec::new();
    for unit in units {
        for symbol in &unit.patch.symbols {
            let function = symbol.stype == SymbolType::Function;
            let SymbolPlace::Defined { size, replaces: None, .. } = &symbol.place else { continue };
            let had = unit.placement.as_ref().is_some_and(|p| p.symbol(&symbol.name).is_some());
            let elsewhere =
                symbol.binding != Binding::Local && matches!(linked.global(&symbol.name), Ok(Some(_)));
            let object = matches!(symbol.stype, SymbolType::Object | SymbolType::Tls);
            if (function || object) && !had && !elsewhere {
                let entry = NewSymbol {
                    name: symbol.name.clone(),
                    unit: unit.name.to_owned(),
                    function,
                    size: *size,
                };
                if !new.contains(&entry) {
                    new.push(entry);
                }
            }
        }
    }
    new
}
