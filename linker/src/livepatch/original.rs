//! The object of a unit as the compiler made it of the shipped source: functions, data, and what they refer
//! to.

use std::collections::{HashMap, HashSet};

use crate::arch::kernel as machine;
use crate::elf::{
    NO_SYMBOL, PlainPlace, PlainSection, PlainSymbol, Rela, Relocatable, SHF_ALLOC, SHF_EXECINSTR, SHF_MERGE,
    SHF_STRINGS, STT_FILE, STT_FUNC, STT_SECTION,
};
use crate::error::LinkError;

/// Size of an entry of `__jump_table` (`struct jump_entry` with relative references).
const JUMP_ENTRY: u64 = 16;
/// In the reference to the key: the instruction in the object is a jump, of which `objtool` makes a nop
/// (`JUMP_LABEL_HACK`).
const MAKE_A_NOP: u64 = 2;

/// A piece of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) section: usize,
    pub(super) start: u64,
    pub(super) size: u64,
}

/// A field that a linker fills in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Offset in its section.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) width: u64,
    /// The value counts from here: the distance from the field to the end of its instruction. `None`: it is
    /// an address.
    pub(super) relative: Option<u64>,
    /// The value is a number with a sign.
    pub(super) signed: bool,
    pub(super) target: Target,
}

/// What a field leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A symbol and a distance from it.
    Symbol(usize, i64),
    /// A place in a section that no symbol covers.
    Place(usize, i64),
}

/// The object, read.
#[derive(Debug)]
pub(super) struct Original {
    pub(super) object: Relocatable,
    /// Symbols of functions and data of each section, by value.
    named: HashMap<usize, Vec<usize>>,
    /// Jumps (section and offset) that are nops in the shipped code.
    nops: HashSet<(usize, u64)>,
}

impl Original {
    pub(super) fn read(unit: &str, data: &[u8]) -> Result<Self, LinkError> {
        let bad = |why: String| LinkError::Elf { file: format!("the original object of {unit}"), why };
        let object = Relocatable::read(data).map_err(bad)?;
        if object.machine != machine::MACHINE {
            return Err(bad("it is for another machine".to_owned()));
        }
        let mut named: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, symbol) in object.symbols.iter().enumerate() {
            if let PlainPlace::Section(section) = symbol.place
                && ![STT_SECTION, STT_FILE].contains(&symbol.kind)
                && !symbol.name.is_empty()
            {
                named.entry(section).or_default().push(index);
            }
        }
        for symbols in named.values_mut() {
            symbols.sort_by_key(|s| object.symbols[*s].value);
        }
        let mut original = Self { object, named, nops: HashSet::new() };
        original.nops = original.jumps_to_nops();
        Ok(original)
    }

    /// Functions, in the order of the symbol table.
    pub(super) fn functions(&self) -> impl Iterator<Item = (usize, &PlainSymbol)> {
        let symbols = self.object.symbols.iter().enumerate();
        symbols.filter(|(_, s)| s.kind == STT_FUNC && s.size > 0 && matches!(s.place, PlainPlace::Section(_)))
    }

    /// Name of the source file, as the assembler recorded it.
    pub(super) fn file(&self) -> Option<&str> {
        let file = self.object.symbols.iter().find(|s| s.kind == STT_FILE);
        file.map(|s| s.name.as_str())
    }

    /// Index of the symbol `name` that the object defines or refers to.
    pub(super) fn symbol(&self, name: &str) -> Option<usize> {
        self.object.symbols.iter().position(|s| s.name == name && s.kind != STT_FILE)
    }

    /// The piece that a symbol covers.
    pub(super) fn piece(&self, symbol: usize) -> Option<Piece> {
        let symbol = self.object.symbols.get(symbol)?;
        let PlainPlace::Section(section) = symbol.place else { return None };
        Some(Piece { section, start: symbol.value, size: symbol.size })
    }

    pub(super) fn section(&self, index: usize) -> Option<&PlainSection> {
        self.object.sections.get(index)
    }

    /// Content of a piece; `None` where it has none in the file.
    pub(super) fn content(&self, piece: Piece) -> Option<&[u8]> {
        let start = usize::try_from(piece.start).ok()?;
        let end = start.checked_add(usize::try_from(piece.size).ok()?)?;
        self.section(piece.section)?.data.get(start..end)
    }

    /// Is there a jump at this place that is a nop in the shipped code?
    pub(super) fn is_nop(&self, section: usize, offset: u64) -> bool {
        self.nops.contains(&(section, offset))
    }

    /// The symbol of a function or a datum that covers a place.
    pub(super) fn covering(&self, section: usize, offset: i64) -> Option<usize> {
        let covers = |symbol: &&usize| {
            let symbol = &self.object.symbols[**symbol];
            let start = i64::try_from(symbol.value).unwrap_or(i64::MAX);
            let size = i64::try_from(symbol.size.max(1)).unwrap_or(i64::MAX);
            offset >= start && offset - start < size
        };
        self.named.get(&section)?.iter().find(covers).copied()
    }

    /// The only symbol of a section.
    fn only(&self, section: usize) -> Option<usize> {
        match self.named.get(&section)?.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }

    /// The fields of a piece, in ascending order.
    ///
    /// # Errors
    /// The type of a relocation that nobody knows, and its offset.
    pub(super) fn fields(&self, piece: Piece) -> Result<Vec<Field>, (u64, u32)> {
        let Some(section) = self.section(piece.section) else { return Ok(Vec::new()) };
        let first = section.relocations.partition_point(|r| r.offset < piece.start);
        let inside = section.relocations.get(first..).unwrap_or_default();
        let inside = inside.iter().take_while(|r| r.offset - piece.start < piece.size);
        let ends = if section.has(SHF_EXECINSTR) { self.instruction_ends(piece) } else { Vec::new() };
        let mut fields = Vec::new();
        for rela in inside {
            if rela.kind == machine::NOTHING {
                continue;
            }
            let Some(form) = machine::form(rela.kind) else {
                return Err((rela.offset - piece.start, rela.kind));
            };
            // In a table a relative field counts from itself.
            let end = ends.iter().find(|end| **end > rela.offset).map_or(0, |end| end - rela.offset);
            let relative = form.relative.then_some(end);
            let Some(target) = self.target(rela, relative.unwrap_or(0)) else {
                return Err((rela.offset - piece.start, rela.kind));
            };
            fields.push(Field {
                offset: rela.offset,
                width: form.width,
                relative,
                signed: form.signed,
                target,
            });
        }
        Ok(fields)
    }

    fn target(&self, rela: &Rela, to_end: u64) -> Option<Target> {
        let symbol = self.object.symbols.get(rela.symbol).filter(|_| rela.symbol != NO_SYMBOL)?;
        let distance = rela.addend.checked_add_unsigned(to_end)?;
        let section = match symbol.place {
            PlainPlace::Section(section) => section,
            _ if symbol.kind == STT_SECTION => return None,
            _ => return Some(Target::Symbol(rela.symbol, distance)),
        };
        let offset = distance.checked_add_unsigned(symbol.value)?;
        // What is merged has no place of its own, whatever labels the compiler left there.
        if self.section(section)?.has(SHF_MERGE) {
            return Some(Target::Place(section, offset));
        }
        if symbol.kind != STT_SECTION {
            return Some(Target::Symbol(rela.symbol, distance));
        }
        let of =
            |s: usize| Some(Target::Symbol(s, offset.checked_sub_unsigned(self.object.symbols[s].value)?));
        match self.covering(section, offset).or_else(|| self.only(section)) {
            Some(symbol) => of(symbol),
            None => Some(Target::Place(section, offset)),
        }
    }

    /// Where the instructions of a piece of code end, in ascending order, of those that hold a field.
    fn instruction_ends(&self, piece: Piece) -> Vec<u64> {
        let Some(code) = self.content(piece) else { return Vec::new() };
        machine::instruction_ends(code, piece.start)
    }

    fn jumps_to_nops(&self) -> HashSet<(usize, u64)> {
        let mut nops = HashSet::new();
        let tables = self.object.sections.iter().filter(|s| s.name == "__jump_table");
        for table in tables {
            for entry in (0..table.data.len() as u64).step_by(16) {
                let at = |offset: u64| table.relocations.iter().find(|r| r.offset == entry + offset);
                let (Some(code), Some(key)) = (at(0), at(JUMP_ENTRY / 2)) else { continue };
                let value = |rela: &Rela| {
                    let symbol = self.object.symbols.get(rela.symbol)?;
                    Some((symbol.place, symbol.value.wrapping_add_signed(rela.addend)))
                };
                if let (Some((PlainPlace::Section(section), offset)), Some((_, key))) =
                    (value(code), value(key))
                    && key & MAKE_A_NOP != 0
                {
                    nops.insert((section, offset));
                }
            }
        }
        nops
    }
}

impl PlainSection {
    /// Strings that the linker merges.
    pub(super) fn is_strings(&self) -> bool {
        self.has(SHF_MERGE) && self.has(SHF_STRINGS)
    }

    /// Constants, which the shipped kernel holds as the compiler made them.
    pub(super) fn is_constant(&self) -> bool {
        self.has(SHF_ALLOC)
            && !self.has(SHF_EXECINSTR)
            && (self.has(SHF_MERGE)
                || self.name.starts_with(".rodata")
                || self.name.starts_with(".data.rel.ro"))
    }
}
