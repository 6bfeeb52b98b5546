//! Where the symbols of an original unit are in the linked file: by the link record, never by a bare local
//! name.
//!
//! The map file says where each section of the unit's object went. Every such claim is checked against the
//! bytes of the linked file (fields that the linker relocates left out), which also tells two inputs of one
//! name apart.

use std::collections::{BTreeMap, HashMap};

use differ::Refusal;
use records::LinkRecord;

use crate::arch;
use crate::elf::{
    ElfFile, SHF_ALLOC, SHF_MERGE, SHF_TLS, SHN_ABS, SHN_COMMON, SHT_NOBITS, SHT_PROGBITS, SHT_RELA,
    STB_LOCAL, STB_WEAK, STT_FILE, STT_TLS, Symbol,
};
use crate::error::{LinkError, refusal};
use crate::locate::linked::{Linked, LinkedDefinition};
use crate::locate::map::names_of;
use crate::locate::mask;

/// Why a section of the object has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    At(u64),
    /// Not in the map: a COMDAT kept from another object, or dropped by `--gc-sections`.
    Dropped,
    /// Merged with others by the linker: offsets are not kept.
    Merged,
    /// Several places fit.
    Ambiguous(Vec<u64>),
    /// The map says a place, the linked file has other bytes there.
    Differs(u64),
}

/// One object of the original unit of a patch object, placed.
#[derive(Debug)]
pub(crate) struct LocatedObject<'a> {
    name: String,
    object: ElfFile<'a>,
    bases: Vec<Base>,
    by_name: HashMap<String, usize>,
}

/// A symbol of the original unit in the linked file.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// Name in the object, hence in the linked file.
    pub(crate) name: String,
    pub(crate) found: LinkedDefinition,
    pub(crate) binding: u8,
    pub(crate) visibility: u8,
    /// Source file as the object names it (`STT_FILE`), a key for local symbols.
    pub(crate) file: String,
    /// The unit's own definition is weak, and this other definition is linked in its place.
    pub(crate) overridden: bool,
}

impl<'a> LocatedObject<'a> {
    /// Places the object with this content hash.
    ///
    /// # Errors
    /// When the object cannot be read, or is no input of this link.
    pub(crate) fn new(
        name: &str,
        sha256: &str,
        object: &'a [u8],
        record: &LinkRecord,
        linked: &Linked<'_>,
    ) -> Result<Self, LinkError> {
        let object = ElfFile::parse(object, name)?;
        let machine = arch::of_file(&object, name)?;
        let mut by_name = HashMap::new();
        for (index, symbol) in object.symbols.iter().enumerate() {
            if symbol.kind != STT_FILE && !symbol.name.is_empty() {
                by_name.insert(symbol.name.clone(), index);
            }
        }
        let candidates = candidates(sha256, record, linked);
        let mut relocations: BTreeMap<u32, Vec<crate::elf::Rela>> = BTreeMap::new();
        for section in object.sections.iter().filter(|s| s.kind == SHT_RELA) {
            relocations.entry(section.info).or_default().extend(object.relocations(section));
        }
        let by_map = !linked.map.contributions.is_empty() && !candidates.is_empty();
        let mut fits: Vec<Result<Vec<Candidate>, Base>> = Vec::with_capacity(object.sections.len());
        for (index, section) in (0u32..).zip(&object.sections) {
            if section.flags & SHF_ALLOC == 0 {
                fits.push(Err(Base::Dropped));
                continue;
            }
            if section.flags & SHF_MERGE != 0 {
                fits.push(Err(Base::Merged));
                continue;
            }
            let masked =
                mask::fields(machine, relocations.get(&index).map(Vec::as_slice).unwrap_or_default());
            let same_bytes = |address: u64| {
                let content = object.content(section);
                section.kind == SHT_NOBITS || mask::same(content, linked.elf.bytes_from(address), &masked)
            };
            let mut places = if by_map {
                candidates.get(section.name.as_str()).cloned().unwrap_or_default()
            } else {
                by_symbols(&object, index as usize, linked)
            };
            // A place of another size is a contradiction too, never a sign that the section was left out.
            let claimed = places.first().copied();
            places.retain(|c| c.size == section.size && (section.size == 0 || same_bytes(c.address)));
            fits.push(match (claimed, places.is_empty()) {
                (Some(claim), true) => Err(Base::Differs(claim.address)),
                (None, _) => Err(Base::Dropped),
                _ => Ok(places),
            });
        }
        let bases = choose(fits);
        Ok(Self { name: name.to_owned(), object, bases, by_name })
    }

    /// Symbol of the unit's object.
    pub(crate) fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.by_name.get(name).and_then(|i| self.object.symbols.get(*i))
    }

    /// Where a symbol of this unit is in the linked file. `Ok(None)`: the linker left it out.
    pub(crate) fn locate(&self, name: &str, linked: &Linked<'_>) -> Result<Option<Located>, Refusal> {
        let place = format!("{name} ({})", self.name);
        let Some(symbol) = self.symbol(name) else {
            return Err(refusal(
                "symbol not in the unit as built",
                place,
                "the object of the original build has no such symbol, though the one compiled for comparison \
                 has",
                "report it: the two compilations of the unit should agree",
            ));
        };
        let file = symbol.file.and_then(|i| self.object.symbols.get(i)).map_or("", |f| f.name.as_str());
        let located = |found: LinkedDefinition| Located {
            name: name.to_owned(),
            found,
            binding: symbol.binding,
            visibility: symbol.visibility,
            file: file.to_owned(),
            overridden: false,
        };
        if symbol.reserved == SHN_ABS {
            let found = LinkedDefinition {
                value: symbol.value,
                size: symbol.size,
                kind: symbol.kind,
                absolute: true,
            };
            return Ok(Some(located(found)));
        }
        let base = if symbol.reserved == SHN_COMMON { None } else { self.bases.get(symbol.section) };
        if let Some(Base::At(base)) = base {
            let section = &self.object.sections[symbol.section];
            let mut value = base + symbol.value;
            if section.flags & SHF_TLS != 0 {
                let Some(tls) = linked.tls() else {
                    return Err(contradiction(&place, "the linked file has no TLS segment"));
                };
                value = value.wrapping_sub(tls.address);
            }
            if symbol.binding == STB_WEAK
                && let Ok(Some(strong)) = linked.global(name)
                && strong.value != value
            {
                return Ok(Some(Located { overridden: true, ..located(strong) }));
            }
            if let Some(others) = linked.contradicts(name, value) {
                let others: Vec<String> = others.iter().map(|v| format!("{v:#x}")).collect();
                let why =
                    format!("the map places it at {value:#x}, the symbol table at {}", others.join(", "));
                return Err(contradiction(&place, &why));
            }
            let size = if symbol.size == 0 { self.extent(symbol) } else { symbol.size };
            return Ok(Some(located(LinkedDefinition { value, size, kind: symbol.kind, absolute: false })));
        }
        if symbol.binding != STB_LOCAL {
            let kept = linked.global(name).map_err(|values| {
                contradiction(&place, &format!("the linked file defines it {} times", values.len()))
            })?;
            if let Some(mut found) = kept {
                // Without a symbol table only the address is known.
                found.size = if found.size == 0 { symbol.size } else { found.size };
                found.kind = if symbol.kind == STT_TLS { STT_TLS } else { found.kind };
                return Ok(Some(located(found)));
            }
        }
        match base {
            Some(Base::Ambiguous(places)) => Err(contradiction(
                &place,
                &format!("its section fits {} places of the linked file equally well", places.len()),
            )),
            Some(Base::Differs(at)) => Err(contradiction(
                &place,
                &format!("the map places its section at {at:#x}, where the linked file has other bytes"),
            )),
            Some(Base::Merged) => Err(refusal(
                "symbol in a merged section",
                place,
                "the linker merges this section with others, so its place in the target is not recorded",
                "do not refer to this constant from the changed code, or make it writable",
            )),
            _ if symbol.binding == STB_LOCAL => self.folded(symbol, file, linked).map(|f| f.map(located)),
            _ => Ok(None),
        }
    }

    /// A local symbol whose section is not in the map, though the symbol is in the file: the linker folded
    /// the section into an equal one (`--icf`).
    fn folded(
        &self,
        symbol: &Symbol,
        file: &str,
        linked: &Linked<'_>,
    ) -> Result<Option<LinkedDefinition>, Refusal> {
        let same = |(s, f): &(&Symbol, &str)| *f == file && s.size == symbol.size && s.kind == symbol.kind;
        let mut found: Vec<&Symbol> = linked.locals(&symbol.name).filter(same).map(|(s, _)| s).collect();
        found.dedup_by_key(|s| s.value);
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(LinkedDefinition {
                value: one.value,
                size: one.size,
                kind: one.kind,
                absolute: false,
            })),
            several => Err(contradiction(
                &format!("{} ({})", symbol.name, self.name),
                &format!(
                    "its section is not in the map, and {} symbols of this name may be it",
                    several.len()
                ),
            )),
        }
    }

    /// Name and size of the section that a symbol of the unit's object is in.
    pub(crate) fn section_of(&self, name: &str) -> Option<(&str, u64)> {
        let section = self.object.sections.get(self.symbol(name)?.section)?;
        Some((section.name.as_str(), section.size))
    }

    /// Names that the unit's object gives to the same place: aliases, not versions.
    pub(crate) fn aliases<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s str> + use<'s, 'a> {
        let own = self.symbol(name).map(|s| (s.section, s.value, s.reserved));
        let same = move |s: &&Symbol| Some((s.section, s.value, s.reserved)) == own;
        self.object.symbols.iter().filter(same).map(|s| s.name.as_str())
    }

    /// Bytes from a symbol without a size to the next one of its section.
    fn extent(&self, symbol: &Symbol) -> u64 {
        let section = &self.object.sections[symbol.section];
        let same = |s: &&Symbol| s.section == symbol.section && s.reserved == 0 && s.value > symbol.value;
        let next = self.object.symbols.iter().filter(same).map(|s| s.value).min();
        next.unwrap_or(section.size).saturating_sub(symbol.value)
    }
}

fn contradiction(place: &str, why: &str) -> Refusal {
    refusal(
        "address in the target not certain",
        place,
        why,
        "build with GNU ld and keep the symbol table of the linked file; if it stays, report it",
    )
}

/// A place that a section may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    address: u64,
    size: u64,
    /// Which of several inputs of one name: its number in the map, or its `STT_FILE` symbol.
    input: Option<usize>,
}

/// A section that fits one place only tells which of several inputs of one name this object is. That decides
/// for the other sections (zero pages, equal bytes).
fn choose(fits: Vec<Result<Vec<Candidate>, Base>>) -> Vec<Base> {
    let certain = fits.iter().filter_map(|f| match f.as_deref() {
        Ok([one]) if one.size > 0 => one.input,
        _ => None,
    });
    let mut inputs: Vec<usize> = certain.collect();
    inputs.sort_unstable();
    inputs.dedup();
    let input = match inputs.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    let base = |fit: Result<Vec<Candidate>, Base>| match fit {
        Err(base) => base,
        Ok(mut places) => {
            if let (true, Some(input)) = (places.len() > 1, input) {
                places.retain(|c| c.input == Some(input));
            }
            let mut addresses: Vec<u64> = places.iter().map(|c| c.address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            match addresses.as_slice() {
                [one] => Base::At(*one),
                several => Base::Ambiguous(several.to_vec()),
            }
        }
    };
    fits.into_iter().map(base).collect()
}

/// Places in the map of the sections of the input with this hash, by section name.
fn candidates<'m>(
    sha256: &str,
    record: &LinkRecord,
    linked: &'m Linked<'_>,
) -> HashMap<&'m str, Vec<Candidate>> {
    let names: Vec<(String, Option<String>)> = record
        .inputs
        .iter()
        .filter(|input| input.sha256 == sha256)
        .flat_map(|input| names_of(input, record))
        .collect();
    let mut places: HashMap<&str, Vec<Candidate>> = HashMap::new();
    for c in &linked.map.contributions {
        if !names.iter().any(|(path, member)| *path == c.path && *member == c.member) {
            continue;
        }
        let of_name = places.entry(c.section.as_str()).or_default();
        // Inputs of one name come in the same order in every section.
        let input = Some(of_name.len());
        let size = if c.resized { u64::MAX } else { c.size };
        of_name.push(Candidate { address: c.address, size, input });
    }
    // The number means the same input only where every one of them is listed.
    let most = places.values().map(Vec::len).max().unwrap_or(0);
    for of_name in places.values_mut().filter(|v| v.len() != most) {
        of_name.iter_mut().for_each(|c| c.input = None);
    }
    places
}

/// Possible places of a section by what the symbol table says of its symbols: for links without a usable map,
/// and for objects that reached the link inside another (`ld -r`). The byte check decides.
fn by_symbols(object: &ElfFile<'_>, section: usize, linked: &Linked<'_>) -> Vec<Candidate> {
    let tls = linked.tls().map_or(0, |t| t.address);
    let mut places: Vec<Candidate> = Vec::new();
    if !matches!(object.sections[section].kind, SHT_PROGBITS | SHT_NOBITS) {
        return places;
    }
    let size = object.sections[section].size;
    let mine =
        object.symbols.iter().filter(|s| s.section == section && s.reserved == 0 && s.kind != STT_FILE);
    for symbol in mine.filter(|s| !s.name.is_empty()) {
        let shift = if symbol.kind == STT_TLS { tls } else { 0 };
        let file = symbol.file.and_then(|i| object.symbols.get(i)).map_or("", |f| f.name.as_str());
        let address = |value: u64| value.wrapping_add(shift).wrapping_sub(symbol.value);
        let here: Vec<Candidate> = if symbol.binding == STB_LOCAL {
            let same =
                |(s, f): &(&Symbol, &str)| *f == file && s.size == symbol.size && s.kind == symbol.kind;
            let locals = linked.locals(&symbol.name).filter(same);
            locals.map(|(s, _)| Candidate { address: address(s.value), size, input: s.file }).collect()
        } else {
            let global = linked.global(&symbol.name).ok().flatten();
            global.map(|f| Candidate { address: address(f.value), size, input: None }).into_iter().collect()
        };
        if places.is_empty() {
            places = here;
        } else if !here.is_empty() {
            places.retain(|p| here.iter().any(|h| h.address == p.address));
            for p in &mut places {
                p.input = p.input.or(here.iter().find(|h| h.address == p.address).and_then(|h| h.input));
            }
        }
    }
    places
}
