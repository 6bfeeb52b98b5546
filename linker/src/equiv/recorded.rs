//! The linked file of a recorded link, taken apart: what the objects put where, and which of its bits are
//! references.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use differ::arch::{Computes, RelocationType};
use records::LinkRecord;

use super::contributions::{Part, contributions};
use super::loaded::{LoadedFile, is_memory};
use crate::arch;
use crate::elf::{
    ElfFile, Rela, SHF_ALLOC, SHF_EXECINSTR, SHF_MERGE, SHF_STRINGS, SHF_TLS, SHT_NOBITS, SHT_RELA,
    STB_LOCAL, STT_FILE, STT_SECTION, STT_TLS, Section, Symbol,
};
use crate::locate::map::{Contribution, LinkMap};
use crate::locate::mask;

/// What the linker may have merged with equal content of other objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    No,
    /// Zero-terminated, of characters of this many bytes.
    Strings(u64),
    /// Constants of this many bytes.
    Constants(u64),
}

/// What one input section became.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) merged: Merged,
    /// Are its references known, from the object's relocations?
    pub(super) known: bool,
    /// Hash of the object that it comes from; empty for what the linker or the system brings.
    pub(super) object: String,
    /// Name of its section in the object, and how many of that name are before it there.
    pub(super) section: (String, usize),
}

/// A function or a datum, or what lies between two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Atom {
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Its first symbol; empty if it has none.
    pub(crate) name: String,
    pub(super) local: bool,
    pub(crate) code: bool,
    /// Start of the region that it is in.
    pub(super) region: u64,
}

impl Atom {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// Where a reference starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The symbol at this address.
    Symbol(u64),
    /// An address through a slot of the global offset table, unless the linker has made it a direct
    /// reference.
    InSlot(u64),
    /// The region that starts there: the assembler has dropped the symbol's name.
    Region(u64),
    /// Something that linkers merge by its content; whether they did and where it went is seen by following
    /// the reference.
    Merged(Merged),
    Unknown,
}

/// Bits that are a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Address of the field as the object has it.
    pub(super) at: u64,
    /// All bytes that the linker may change for the reference.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Number of the relocation type.
    pub(super) number: u32,
    /// What is known of the type.
    pub(super) kind: Option<&'static RelocationType>,
    pub(super) base: Base,
}

/// A linked file with its record.
#[derive(Debug)]
pub(crate) struct RecordedFile<'a> {
    pub(crate) loaded: LoadedFile<'a>,
    pub(super) regions: BTreeMap<u64, Region>,
    pub(super) atoms: BTreeMap<u64, Atom>,
    /// In ascending order of `start`.
    pub(super) fields: Vec<Field>,
    /// Where the symbols of each object are: by its hash and the name.
    pub(super) named: HashMap<(String, String), u64>,
}

/// An object of the link with what was used of it.
struct Input<'a> {
    sha256: &'a str,
    object: ElfFile<'a>,
    relocations: HashMap<usize, Vec<Rela>>,
    /// Address of each section in the linked file.
    placed: HashMap<usize, u64>,
}

impl<'a> RecordedFile<'a> {
    /// `objects`: the inputs that were kept, by hash.
    pub(crate) fn new(
        side: LoadedFile<'a>,
        map: &LinkMap,
        record: &'a LinkRecord,
        parts: &'a [Part<'a>],
        objects: &'a HashMap<String, Vec<u8>>,
    ) -> Self {
        let mut this = Self {
            loaded: side,
            regions: BTreeMap::new(),
            atoms: BTreeMap::new(),
            fields: Vec::new(),
            named: HashMap::new(),
        };
        let mut inputs = read_inputs(record, parts, objects);
        for (contribution, candidates) in contributions(map, record, parts) {
            this.place(&contribution, &candidates, &mut inputs);
        }
        this.fill_gaps();
        this.read_fields(&inputs);
        let symbols = this.symbols(&inputs);
        this.cut(&symbols);
        this
    }

    /// Finds the section of an object that became `contribution`.
    fn place(
        &mut self,
        contribution: &Contribution,
        candidates: &[&'a str],
        inputs: &mut BTreeMap<&'a str, Input<'a>>,
    ) {
        let Some(section) = self.loaded.section(contribution.address) else { return };
        if section.flags & SHF_TLS != 0 {
            return;
        }
        let start = contribution.address;
        let end = start.saturating_add(contribution.size).min(section.address + section.size);
        let mut region = Region {
            start,
            end,
            merged: by_name(&contribution.section),
            known: false,
            object: String::new(),
            section: Default::default(),
        };
        for candidate in candidates {
            let Some(input) = inputs.get_mut(candidate) else { continue };
            let found = input.object.sections.iter().enumerate().find(|(i, s)| {
                s.name == contribution.section
                    && s.flags & SHF_ALLOC != 0
                    && !input.placed.contains_key(i)
                    && (contribution.resized || s.flags & SHF_MERGE != 0 || s.size == contribution.size)
                    && self.holds(start, &input.object, s, input.relocations.get(i))
            });
            let Some((index, section)) = found else { continue };
            region.merged = merged(section);
            region.known = region.merged == Merged::No;
            input.sha256.clone_into(&mut region.object);
            let before = input.object.sections[..index].iter().filter(|s| s.name == contribution.section);
            region.section = (contribution.section.clone(), before.count());
            input.placed.insert(index, start);
            break;
        }
        if end > start {
            self.regions.insert(start, region);
        }
    }

    /// Are the bytes of an object's section at `start`, but for what the linker fills in?
    fn holds(
        &self,
        start: u64,
        object: &ElfFile<'_>,
        section: &Section,
        relocations: Option<&Vec<Rela>>,
    ) -> bool {
        if section.kind == SHT_NOBITS || section.flags & SHF_MERGE != 0 {
            return true;
        }
        let masked = mask::fields(self.loaded.machine, relocations.map(Vec::as_slice).unwrap_or_default());
        mask::same(object.content(section), self.loaded.rest(start), &masked)
    }

    /// Parts of the file that the map does not list: what the linker makes, and what it brings from the
    /// system.
    fn fill_gaps(&mut self) {
        let sections: Vec<(u64, u64)> = self
            .loaded
            .elf
            .sections
            .iter()
            .filter(|s| is_memory(s) && s.size > 0 && s.flags & SHF_TLS == 0)
            .map(|s| (s.address, s.address.saturating_add(s.size)))
            .collect();
        for (start, end) in sections {
            let mut at = start;
            let inside: Vec<(u64, u64)> = self.regions.range(start..end).map(|(s, r)| (*s, r.end)).collect();
            for (next, after) in inside.into_iter().chain([(end, end)]) {
                if next > at {
                    let (object, section) = Default::default();
                    let region =
                        Region { start: at, end: next, merged: Merged::No, known: false, object, section };
                    self.regions.insert(at, region);
                }
                at = at.max(after);
            }
        }
    }

    fn read_fields(&mut self, inputs: &BTreeMap<&str, Input<'_>>) {
        let mut globals: HashMap<&str, Option<u64>> = HashMap::new();
        for symbol in self
            .loaded
            .elf
            .symbols
            .iter()
            .filter(|s| s.is_defined() && s.binding != STB_LOCAL && s.kind != STT_TLS)
        {
            let known = globals
                .entry(symbol.name.split('@').next().unwrap_or_default())
                .or_insert(Some(symbol.value));
            if *known != Some(symbol.value) {
                *known = None;
            }
        }
        let machine = self.loaded.machine;
        let mut fields = Vec::new();
        for input in inputs.values() {
            for (section, start) in &input.placed {
                for rela in input.relocations.get(section).into_iter().flatten() {
                    let window = mask::window(machine, rela);
                    let base = match input.object.symbols.get(rela.symbol) {
                        Some(s) if s.kind == STT_TLS => Base::Unknown,
                        Some(s) if mergeable(&input.object, s) != Merged::No => {
                            Base::Merged(mergeable(&input.object, s))
                        }
                        Some(s) if s.kind == STT_SECTION => {
                            input.placed.get(&s.section).map_or(Base::Unknown, |at| Base::Region(*at))
                        }
                        Some(s) if s.binding == STB_LOCAL && s.reserved == 0 && s.section != 0 => input
                            .placed
                            .get(&s.section)
                            .map_or(Base::Unknown, |at| Base::Symbol(at.wrapping_add(s.value))),
                        Some(s) => globals
                            .get(s.name.as_str())
                            .copied()
                            .flatten()
                            .map_or(Base::Unknown, Base::Symbol),
                        None => Base::Unknown,
                    };
                    let kind = machine.relocation(rela.kind);
                    let base = match base {
                        Base::Symbol(at) if kind.is_some_and(|t| t.computes == Computes::GotSlot) => {
                            Base::InSlot(at)
                        }
                        other => other,
                    };
                    fields.push(Field {
                        at: start.wrapping_add(rela.offset),
                        start: start.wrapping_add(window.start),
                        end: start.wrapping_add(window.end),
                        number: rela.kind,
                        kind,
                        base,
                    });
                }
            }
        }
        fields.sort_by_key(|f| (f.start, f.at));
        self.fields = fields;
    }

    /// Symbols of functions and data by address: size, name, local. The objects know also those that the
    /// linked file has lost.
    fn symbols(&mut self, inputs: &BTreeMap<&str, Input<'_>>) -> BTreeMap<u64, (u64, String, bool)> {
        let mut found: BTreeMap<u64, (u64, String, bool)> = BTreeMap::new();
        let mut add = |address: u64, size: u64, name: &str, local: bool| {
            let name = name.split('@').next().unwrap_or_default();
            let entry = found.entry(address).or_insert_with(|| (size, name.to_owned(), local));
            if size > entry.0 || entry.2 && !local && size == entry.0 {
                *entry = (size, name.to_owned(), local);
            }
        };
        let usable = |kind: u8, name: &str| {
            !matches!(kind, STT_FILE | STT_SECTION | STT_TLS) && !name.is_empty() && !name.starts_with(".L")
        };
        for input in inputs.values() {
            for s in input.object.symbols.iter().filter(|s| s.reserved == 0 && usable(s.kind, &s.name)) {
                if let Some(at) = input.placed.get(&s.section) {
                    add(at.wrapping_add(s.value), s.size, &s.name, s.binding == STB_LOCAL);
                    let name = s.name.split('@').next().unwrap_or_default().to_owned();
                    self.named.entry((input.sha256.to_owned(), name)).or_insert(at.wrapping_add(s.value));
                }
            }
        }
        for s in self
            .loaded
            .elf
            .symbols
            .iter()
            .filter(|s| s.is_defined() && s.reserved == 0 && usable(s.kind, &s.name))
        {
            if self.loaded.section(s.value).is_some() {
                add(s.value, s.size, &s.name, s.binding == STB_LOCAL);
            }
        }
        found
    }

    /// Cuts the regions into atoms: at symbols, and what has none where code refers to it.
    fn cut(&mut self, symbols: &BTreeMap<u64, (u64, String, bool)>) {
        let referred = self.destinations();
        let mut atoms = BTreeMap::new();
        for region in self.regions.values().filter(|r| r.merged == Merged::No) {
            let code = self.loaded.section(region.start).is_some_and(|s| s.flags & SHF_EXECINSTR != 0);
            let mut push = |start: u64, end: u64, name: &str, local: bool| {
                if end > start {
                    let name = name.to_owned();
                    let atom = Atom { start, size: end - start, name, local, code, region: region.start };
                    atoms.insert(start, atom);
                }
            };
            let unnamed = |from: u64, to: u64, push: &mut dyn FnMut(u64, u64, &str, bool)| {
                if from >= to {
                    return;
                }
                let mut at = from;
                for cut in referred.range((Bound::Excluded(from), Bound::Excluded(to))) {
                    push(at, *cut, "", true);
                    at = *cut;
                }
                push(at, to, "", true);
            };
            let mut at = region.start;
            let mut inside = symbols.range(region.start..region.end).peekable();
            while let Some((start, (size, name, local))) = inside.next() {
                if *start < at {
                    continue;
                }
                unnamed(at, *start, &mut push);
                let next = inside.peek().map_or(region.end, |(next, _)| **next);
                at = if *size > 0 { start.saturating_add(*size).min(region.end) } else { next };
                push(*start, at, name, *local);
            }
            unnamed(at, region.end, &mut push);
        }
        self.atoms = atoms;
    }

    /// Places in data that code and data of known objects refer to.
    fn destinations(&self) -> BTreeSet<u64> {
        // Each function has an exception table of its own.
        let mut found: BTreeSet<u64> = self.loaded.exceptions.values().copied().collect();
        let is_code: HashSet<u64> = self
            .loaded
            .elf
            .sections
            .iter()
            .filter(|s| s.flags & SHF_EXECINSTR != 0)
            .map(|s| s.address)
            .collect();
        for section in
            self.loaded.elf.sections.iter().filter(|s| is_memory(s) && is_code.contains(&s.address))
        {
            let content = self.loaded.elf.content(section);
            self.loaded.machine.data_references(content, section.address, &mut |at| {
                found.insert(at);
            });
        }
        for field in &self.fields {
            let Some(facts) = field.kind.filter(|t| t.computes == Computes::Address && !t.is_pc_relative())
            else {
                continue;
            };
            let width: u64 = match facts.width {
                width @ (4 | 8) => width.into(),
                _ => continue,
            };
            match self.loaded.is_filled(field.at) {
                true => {
                    if let super::loaded::Meaning::Own(to) = self.loaded.held(field.at) {
                        found.insert(to);
                    }
                }
                false => found.extend(self.loaded.word(field.at, width)),
            }
        }
        found
    }

    /// The region that holds an address.
    pub(super) fn region(&self, address: u64) -> Option<&Region> {
        self.regions.range(..=address).next_back().map(|(_, r)| r).filter(|r| address < r.end)
    }

    /// The atom that holds an address.
    pub(super) fn atom(&self, address: u64) -> Option<&Atom> {
        self.atoms.range(..=address).next_back().map(|(_, p)| p).filter(|p| address < p.end())
    }

    /// The last atom before a atom in the same region.
    pub(super) fn before(&self, atom: &Atom) -> Option<&Atom> {
        self.atoms.range(atom.region..atom.start).next_back().map(|(_, p)| p)
    }

    /// The last atom of a region.
    pub(super) fn last_of(&self, region: &Region) -> Option<&Atom> {
        self.atoms.range(region.start..region.end).next_back().map(|(_, p)| p)
    }

    /// Fields that touch the bytes from `start` to `end`.
    pub(super) fn fields_in(&self, start: u64, end: u64) -> impl Iterator<Item = &Field> {
        // No window is longer than 16 bytes.
        let from = self.fields.partition_point(|f| f.start < start.saturating_sub(16));
        self.fields[from..].iter().take_while(move |f| f.start < end).filter(move |f| f.end > start)
    }
}

fn read_inputs<'a>(
    record: &'a LinkRecord,
    parts: &'a [Part<'a>],
    objects: &'a HashMap<String, Vec<u8>>,
) -> BTreeMap<&'a str, Input<'a>> {
    let mut inputs = BTreeMap::new();
    let records = std::iter::once(record).chain(parts.iter().map(|p| p.record));
    for input in records.flat_map(|r| &r.inputs) {
        if inputs.contains_key(input.sha256.as_str())
            || parts.iter().any(|p| p.record.output_sha256 == input.sha256)
        {
            continue;
        }
        let Some(object) = objects
            .get(&input.sha256)
            .and_then(|data| ElfFile::parse(data, "object").ok())
            .filter(|elf| arch::of(elf.machine).is_some())
        else {
            continue;
        };
        let mut relocations: HashMap<usize, Vec<Rela>> = HashMap::new();
        for section in object.sections.iter().filter(|s| s.kind == SHT_RELA) {
            relocations.entry(section.info as usize).or_default().extend(object.relocations(section));
        }
        let sha256 = input.sha256.as_str();
        inputs.insert(sha256, Input { sha256, object, relocations, placed: HashMap::new() });
    }
    inputs
}

/// How the section that a local symbol is in may be merged.
fn mergeable(object: &ElfFile<'_>, symbol: &Symbol) -> Merged {
    let inside = symbol.reserved == 0 && symbol.section != 0 && symbol.binding == STB_LOCAL;
    object.sections.get(symbol.section).filter(|_| inside).map_or(Merged::No, merged)
}

fn merged(section: &Section) -> Merged {
    match (section.flags & SHF_MERGE != 0, section.flags & SHF_STRINGS != 0) {
        (false, _) => Merged::No,
        (true, true) => Merged::Strings(section.entry_size.max(1)),
        (true, false) => Merged::Constants(section.entry_size.max(1)),
    }
}

/// What the linker may have merged in a section whose object was not kept, judged by the names that compilers
/// give.
fn by_name(section: &str) -> Merged {
    match section.strip_prefix(".rodata.") {
        Some(rest) if rest.starts_with("str") || rest.contains(".str1.") => {
            // `.rodata.str4.4` and `.rodata.f.str4.4`: characters of four bytes, aligned to four.
            let width =
                rest.rsplit("str").next().and_then(|w| w.split('.').next()).and_then(|w| w.parse().ok());
            Merged::Strings(width.unwrap_or(1))
        }
        Some(rest) => {
            rest.strip_prefix("cst").and_then(|n| n.parse().ok()).map_or(Merged::No, Merged::Constants)
        }
        None => Merged::No,
    }
}
