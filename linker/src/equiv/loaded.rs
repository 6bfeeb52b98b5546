//! One linked file: its bytes by address, what the dynamic loader fills in, and what a reference to an
//! address means.

use std::collections::HashMap;

use differ::arch::{Computes, Tls};

use super::thread_local::ThreadLocals;
use super::unwind::exception_tables;
use crate::arch::{self, Machine};
use crate::elf::{ElfFile, PT_LOAD, PT_TLS, SHF_ALLOC, SHF_TLS, SHT_NOBITS, SHT_RELA, SHT_RELR, Section};
use crate::error::LinkError;

/// What the dynamic loader writes to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filled {
    /// An address of this file.
    Own(u64),
    /// What the loader finds under a name.
    Named(String, i64),
    /// Module, offset or descriptor of a thread-local variable: relocation type, name, addend.
    ThreadLocal(u32, String, i64),
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// An address of this file.
    Own(u64),
    /// What the loader finds under a name, and an offset into it.
    Named(String, i64),
    /// Of a thread-local variable: relocation type, name, addend.
    ThreadLocal(u32, String, i64),
    /// A slot of the global offset table that holds this.
    Slot(Box<Meaning>),
    /// No address.
    Constant(u64),
}

/// Bytes at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// From the file.
    Bytes(&'a [u8]),
    /// Zeroed memory, of no file content.
    Zero,
}

/// A linked file, read for the comparison.
#[derive(Debug)]
pub(crate) struct LoadedFile<'a> {
    pub(super) elf: ElfFile<'a>,
    pub(super) machine: &'static dyn Machine,
    filled: HashMap<u64, Filled>,
    /// Slot that the entry of a procedure linkage table at this address jumps through.
    plt: HashMap<u64, u64>,
    /// Variables of libraries that live in this program: address, size, name.
    copies: Vec<(u64, u64, String)>,
    /// Exception tables, by the start of the code that they are for.
    pub(super) exceptions: HashMap<u64, u64>,
    pub(super) thread_locals: ThreadLocals,
}

impl<'a> LoadedFile<'a> {
    /// `file`: its name for messages.
    pub(crate) fn new(elf: ElfFile<'a>, file: &str) -> Result<Self, LinkError> {
        let machine = arch::of_file(&elf, file)?;
        let mut side = Self {
            machine,
            filled: HashMap::new(),
            plt: machine.plt_entries(&elf).into_iter().collect(),
            copies: Vec::new(),
            exceptions: exception_tables(&elf),
            thread_locals: ThreadLocals::of(&elf.symbols),
            elf,
        };
        let tables: Vec<Section> =
            side.elf.sections.iter().filter(|s| s.flags & SHF_ALLOC != 0).cloned().collect();
        for section in &tables {
            match section.kind {
                SHT_RELA => side.read_rela(section),
                SHT_RELR => side.read_relr(section),
                _ => {}
            }
        }
        Ok(side)
    }

    fn read_rela(&mut self, section: &Section) {
        for rela in self.elf.relocations(section) {
            let symbol = self.elf.dynamic_symbols.get(rela.symbol).filter(|_| rela.symbol != 0);
            let name = symbol.map(|s| s.name.clone()).unwrap_or_default();
            let facts = self.machine.relocation(rela.kind);
            let filled = match facts.map(|t| (t.computes, t.width)) {
                Some((Computes::Copy, _)) => {
                    self.copies.extend(symbol.map(|s| (s.value, s.size.max(1), name)));
                    continue;
                }
                Some((Computes::Relative | Computes::Resolver, _)) => {
                    Filled::Own(rela.addend.cast_unsigned())
                }
                Some((Computes::Address | Computes::Lookup | Computes::LookupForCalls, 8))
                    if symbol.is_some() =>
                {
                    Filled::Named(name, rela.addend)
                }
                _ => Filled::ThreadLocal(rela.kind, name, rela.addend),
            };
            self.filled.insert(rela.offset, filled);
        }
    }

    /// gABI, "Relative Relocation Table": an address, then bitmaps of the 63 words that follow.
    fn read_relr(&mut self, section: &Section) {
        let word = std::mem::size_of::<u64>() as u64;
        let mut next = 0u64;
        for entry in self.elf.content(section).chunks_exact(8) {
            let entry = entry.try_into().map_or(0, u64::from_le_bytes);
            if entry & 1 == 0 {
                self.relative(entry);
                next = entry.wrapping_add(word);
            } else {
                (0..63u64)
                    .filter(|bit| entry >> (bit + 1) & 1 != 0)
                    .for_each(|bit| self.relative(next.wrapping_add(bit * word)));
                next = next.wrapping_add(63 * word);
            }
        }
    }

    fn relative(&mut self, at: u64) {
        if let Some(value) = self.word(at, 8) {
            self.filled.insert(at, Filled::Own(value));
        }
    }

    /// The section that holds an address; thread-local ones have none.
    pub(super) fn section(&self, address: u64) -> Option<&Section> {
        self.elf
            .sections
            .iter()
            .find(|s| is_memory(s) && address >= s.address && address - s.address < s.size)
    }

    /// `length` bytes at `address`; `None` if they are not in one section.
    pub(super) fn content(&self, address: u64, length: u64) -> Option<Content<'a>> {
        let section = self.section(address)?;
        let at = address - section.address;
        if at.checked_add(length)? > section.size {
            return None;
        }
        if section.kind == SHT_NOBITS {
            return Some(Content::Zero);
        }
        let range = usize::try_from(at).ok()?..usize::try_from(at + length).ok()?;
        self.elf.content(section).get(range).map(Content::Bytes)
    }

    /// The bytes from `address` to the end of its section.
    pub(super) fn rest(&self, address: u64) -> &'a [u8] {
        let Some(section) = self.section(address) else { return &[] };
        let at = usize::try_from(address - section.address).unwrap_or(usize::MAX);
        self.elf.content(section).get(at..).unwrap_or_default()
    }

    /// A number of `width` bytes (at most 8) in the file.
    pub(super) fn word(&self, address: u64, width: u64) -> Option<u64> {
        match self.content(address, width)? {
            Content::Zero => Some(0),
            Content::Bytes(bytes) => Some(bytes.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b))),
        }
    }

    /// Is there a variable of a library, which lives in this program?
    pub(super) fn is_copy(&self, address: u64) -> bool {
        self.copies.iter().any(|(start, size, _)| address >= *start && address - start < *size)
    }

    /// What a reference to `address` means.
    pub(super) fn meaning(&self, address: u64) -> Meaning {
        if let Some(slot) = self.plt.get(&address) {
            return self.held(*slot);
        }
        if let Some((start, _, name)) =
            self.copies.iter().find(|(a, size, _)| address >= *a && address - a < *size)
        {
            return Meaning::Named(name.clone(), (address - start).cast_signed());
        }
        match self.section(address) {
            Some(section) if section.name.starts_with(".got") => Meaning::Slot(Box::new(self.held(address))),
            _ => Meaning::Own(address),
        }
    }

    /// What a word of eight bytes holds once the file is loaded.
    pub(super) fn held(&self, address: u64) -> Meaning {
        match self.filled.get(&address) {
            Some(Filled::Own(to)) => self.meaning_without_slot(*to),
            Some(Filled::Named(name, addend)) => Meaning::Named(name.clone(), *addend),
            Some(Filled::ThreadLocal(kind, name, addend)) if name.is_empty() => {
                // One of this file's own: where it is among them stands in the next word, or is the addend.
                let next = address.wrapping_add(8);
                let facts = self.machine.relocation(*kind);
                let is_module = facts.is_some_and(|t| t.computes == Computes::Tls(Tls::Module));
                let offset = match is_module {
                    true if !self.is_filled(next) => self.word(next, 8).unwrap_or(0),
                    _ => addend.cast_unsigned(),
                };
                let (name, inside) = self.thread_locals.at(offset).unwrap_or((String::new(), offset));
                Meaning::ThreadLocal(*kind, name, inside.cast_signed())
            }
            Some(Filled::ThreadLocal(kind, name, addend)) => {
                Meaning::ThreadLocal(*kind, name.clone(), *addend)
            }
            None => {
                let value = self.word(address, 8).unwrap_or(0);
                if self.is_address(value) {
                    self.meaning_without_slot(value)
                } else {
                    Meaning::Constant(value)
                }
            }
        }
    }

    /// A pointer to a slot is not followed.
    fn meaning_without_slot(&self, address: u64) -> Meaning {
        match self.meaning(address) {
            Meaning::Slot(_) => Meaning::Own(address),
            other => other,
        }
    }

    /// Does the dynamic loader write to these bytes?
    pub(super) fn is_filled(&self, address: u64) -> bool {
        self.filled.contains_key(&address)
    }

    /// Can a number be an address of a file that is linked to a fixed place?
    pub(super) fn is_address(&self, value: u64) -> bool {
        value != 0
            && self
                .elf
                .segments
                .iter()
                .any(|s| s.kind == PT_LOAD && value >= s.address && value - s.address <= s.size)
    }

    /// Offset in the TLS segment that an offset from the thread pointer stands for.
    pub(super) fn tls_offset(&self, from_thread_pointer: i64) -> Option<u64> {
        let tls = self.elf.segments.iter().find(|s| s.kind == PT_TLS)?;
        self.machine.offset_in_tls(tls, from_thread_pointer)
    }
}

/// Loaded, and not the initial content of thread-local variables without file content, whose addresses mean
/// nothing.
pub(super) fn is_memory(section: &Section) -> bool {
    section.flags & SHF_ALLOC != 0 && !(section.flags & SHF_TLS != 0 && section.kind == SHT_NOBITS)
}
