//! The phases of a link, each from what the earlier ones found.

use std::collections::{HashMap, HashSet};

use differ::{Binding, Refusal, SectionKind, SymbolPlace, SymbolType, Warning};
use patchfile::image::{Image, Symbol, Unwind};

use super::caller_module::CallerModule;
use super::exports;
use super::hooks;
use super::input::{ChangedFunction, LinkInput, LinkOutput, NewSymbol};
use super::inputs::{Inputs, Unit};
use super::layout::{Layout, lay_out};
use super::new_tls::NewTls;
use super::redirects::{entries, place_entries, redirects};
use super::relocate;
use super::replacements::{Replacement, replacements};
use super::resolve::Resolver;
use super::settled;
use super::target::TargetElf;
use crate::arch::Machine;
use crate::chunks::{Chunk, Chunks, Role};
use crate::error::{LinkError, refusal};
use crate::locate::command_line::Options;
use crate::locate::linked::Linked;
use crate::locate::map::LinkMap;
use crate::locate::unit::LocatedUnit;
use crate::product::Product;

/// Joins the patch objects of one ELF file.
///
/// # Errors
/// [`LinkError::Refused`] with every reason why the change cannot be live-patched; otherwise when an input is
/// damaged or inputs contradict each other.
pub fn link(input: &LinkInput<'_>) -> Result<LinkOutput, LinkError> {
    let map = input.map.map(LinkMap::parse).unwrap_or_default();
    let linked = Linked::new(input.linked.0.clone(), map);
    let target = TargetElf::new(input.target.0.clone())?;
    let machine = target.machine;
    let mut chunks = Chunks::new(machine);
    let units = read_units(input, machine, &linked, &mut chunks)?;
    let (mut refused, mut warnings) = (second_copies(input, &linked), Vec::new());
    let inputs = Inputs {
        machine,
        units: &units,
        linked: &linked,
        target: &target,
        addresses: input.addresses,
        libraries: input.libraries,
        globals: globals(&units)?,
        options: Options::read(input.record.expanded_argv.iter().map(|a| a.as_bytes())),
        optimised: input.record.lto,
        moved: input.moved,
    };
    let (replacements, replaced) = replacements(&inputs, &mut refused, &mut warnings);
    let code = |r: &Replacement| std::iter::once((r.old, r.old_size)).chain(r.fragments.clone());
    let calls = CallerModule::new(replacements.iter().flat_map(code).collect());
    let new_tls = NewTls::plan(&inputs, &mut chunks, &mut refused, &mut warnings);
    let resolver = Resolver { inputs: &inputs, replaced: &replaced, new_tls: &new_tls };
    for (u, unit) in units.iter().enumerate() {
        for index in 0..unit.patch.sections.len() {
            relocate::section(&resolver, &calls, u, index, &mut chunks, &mut refused);
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
    let placed = place_entries(&replacements, entries, machine, &mut chunks)?;
    let size = lay_out(&chunks.chunks, replacements.len(), machine)?.size();
    chunks
        .set_size(size)
        .ok_or_else(|| LinkError::Inconsistent(format!("an image of {size} bytes is too large")))?;
    let mut layout = lay_out(&chunks.chunks, replacements.len(), machine)?;
    let relocations = layout.settle(&chunks.chunks)?;
    let redirects = redirects(&replacements, &placed, &layout)?;
    let lsda =
        units.iter().any(|u| u.patch.sections.iter().any(|s| s.kind == SectionKind::Lsda && s.size > 0));
    let register = lsda || input.units.iter().any(|u| u.cplusplus) || unwinds(&target, &linked);
    let unwind =
        layout.eh_frame.map(|(eh_frame, eh_frame_size)| Unwind { eh_frame, eh_frame_size, register });
    warnings.extend(chunks.companions.iter().map(|library| {
        Warning {
            what: "library that the target does not load".to_owned(),
            place: format!("{library} ({})", input.name),
            why:
                "the dynamic loader of each process is asked for it (`dlopen`) before the patch goes in; it \
              stays loaded when the patch goes out, and has to be installed where the process sees it"
                    .to_owned(),
        }
    }));
    let (mut exports, mut shared) = (Vec::new(), Vec::new());
    if let Some(patched) = input.patched {
        let patched = crate::elf::ElfFile::parse(patched, "ELF file of the patched build")?;
        exports = exports::added(&patched, &resolver, &layout);
        shared = exports::shared(&patched, &inputs);
    }
    let places = settled::settled(input, &inputs, &layout);
    let image = Image {
        arch: machine.arch(),
        target: target.identity(input.name),
        redirects,
        references: chunks.references,
        relocations,
        symbols: symbols(&units, &layout),
        unwind,
        hooks: hooks::collect(&units, &layout),
        exports,
        companions: chunks.companions,
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
    let product = Product::Image(image);
    Ok(LinkOutput { product, changed, new, warnings, used: chunks.used, shared, places })
}

/// Can C code of the target be unwound at run time? A library may be called back from C++; a program does it
/// itself, by name.
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
    machine: &dyn Machine,
    linked: &Linked<'_>,
    chunks: &mut Chunks,
) -> Result<Vec<Unit<'a>>, LinkError> {
    let mut units = Vec::with_capacity(input.units.len());
    for unit in input.units {
        if unit.patch.machine != machine.arch().e_machine() {
            let why = format!("machine {} is not supported", unit.patch.machine);
            return Err(LinkError::Elf { file: unit.name.to_owned(), why });
        }
        let located = match &unit.original {
            Some(o) => Some(LocatedUnit::new(unit.name, o, input.record, linked)?),
            None => None,
        };
        let made = unit.patch.sections.iter().map(|section| {
            let (align, size) = match section.kind {
                SectionKind::Text => (section.align.max(16), section.size),
                // Only content to copy; a zeroed variable takes no room.
                SectionKind::Tls => (8, section.data.len() as u64),
                _ => (section.align.max(1), section.size),
            };
            chunks.add(Chunk {
                kind: section.kind,
                role: Role::Other,
                align,
                data: section.data.clone(),
                size,
                fixups: Vec::new(),
                name: format!("{} ({})", section.name, unit.name),
            })
        });
        let made = made.collect();
        units.push(Unit { name: unit.name, patch: unit.patch, located, chunks: made });
    }
    Ok(units)
}

/// What archive members would bring although the program has it, from another archive: two copies do not know
/// of each other's state.
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
                    "the original link took what it defines from elsewhere, and the two would not share \
                     their state",
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
            let had = unit.located.as_ref().is_some_and(|p| p.symbol(&symbol.name).is_some());
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
