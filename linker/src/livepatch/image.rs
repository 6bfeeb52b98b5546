//! A shipped kernel: its content by address, and its symbols.

use std::collections::HashSet;

use patchfile::BuildId;

use super::btf;
use super::kallsyms::{self, KernelSymbol};
use crate::arch::kernel as machine;
use crate::elf::{ElfFile, SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, Section};
use crate::error::LinkError;

const NAME: &str = "vmlinux";

/// A shipped kernel image, unpacked, with the symbol table that it carries.
#[derive(Debug)]
pub struct KernelImage<'a> {
    elf: ElfFile<'a>,
    symbols: Vec<KernelSymbol>,
    /// Indices into `symbols`, by name, then in the kernel's order.
    by_name: Vec<usize>,
    traced: HashSet<u64>,
    sealed: HashSet<u64>,
}

impl<'a> KernelImage<'a> {
    /// Reads the ELF file that a `vmlinuz` unpacks to.
    ///
    /// # Errors
    /// When it is no ELF file, is damaged, or has no symbol table of its own of a known layout.
    pub fn read(vmlinux: &'a [u8]) -> Result<Self, LinkError> {
        let bad = |why: String| LinkError::Elf { file: NAME.to_owned(), why };
        let elf = ElfFile::parse(vmlinux, NAME)?;
        let rodata = elf.sections.iter().find(|s| s.name == ".rodata");
        let rodata = rodata.ok_or_else(|| bad("it has no section .rodata".to_owned()))?;
        let symbols = kallsyms::read(elf.content(rodata)).map_err(bad)?;
        let mut by_name: Vec<usize> = (0..symbols.len()).collect();
        by_name.sort_by(|a, b| symbols[*a].name.cmp(&symbols[*b].name).then(a.cmp(b)));
        let mut image = Self { elf, symbols, by_name, traced: HashSet::new(), sealed: HashSet::new() };
        image.traced = image.traced_places();
        image.sealed = image.sealed_functions();
        Ok(image)
    }

    /// All symbols, in the kernel's order: by address, and those of one address as its build left them.
    pub fn symbols(&self) -> &[KernelSymbol] {
        &self.symbols
    }

    /// The symbols of one name in the kernel's order. Position N of a live patch is the Nth of them, counted
    /// from 1.
    pub fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s KernelSymbol> {
        let first = self.by_name.partition_point(|i| self.symbols[*i].name.as_str() < name);
        let named = self.by_name.get(first..).unwrap_or_default().iter().map(|i| &self.symbols[*i]);
        named.take_while(move |symbol| symbol.name == name)
    }

    /// Symbols at an address.
    pub fn at(&self, address: u64) -> impl Iterator<Item = &KernelSymbol> {
        let first = self.symbols.partition_point(|symbol| symbol.address < address);
        let rest = self.symbols.get(first..).unwrap_or_default().iter();
        rest.take_while(move |symbol| symbol.address == address)
    }

    /// `length` bytes at a link-time address; `None` where the file has none.
    pub fn bytes(&self, address: u64, length: u64) -> Option<&'a [u8]> {
        let rest = self.bytes_from(address)?;
        rest.get(..usize::try_from(length).ok()?)
    }

    /// Bytes from an address to the end of its section.
    pub(super) fn bytes_from(&self, address: u64) -> Option<&'a [u8]> {
        let section = self.section_at(address).filter(|s| s.kind != SHT_NOBITS)?;
        self.elf.content(section).get(usize::try_from(address - section.address).ok()?..)
    }

    fn section_at(&self, address: u64) -> Option<&Section> {
        let has =
            |s: &&Section| s.flags & SHF_ALLOC != 0 && address >= s.address && address - s.address < s.size;
        self.elf.sections.iter().find(has)
    }

    /// Is code at this address?
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.section_at(address).is_some_and(|s| s.flags & SHF_EXECINSTR != 0)
    }

    /// Does this lie in memory that the kernel frees once it has started?
    pub(super) fn is_of_start(&self, address: u64) -> bool {
        let bound = |name: &str| self.named(name).next().map(|symbol| symbol.address);
        let bounds = bound("__init_begin").zip(bound("__init_end"));
        bounds.is_some_and(|(start, end)| (start..end).contains(&address))
    }

    /// The build-id.
    pub fn build_id(&self) -> Option<BuildId> {
        self.elf.build_id()
    }

    /// What the kernel says of itself: `Linux version …`, with its release, compiler, linker and build.
    pub fn banner(&self) -> Option<String> {
        let banner = self.named("linux_banner").next()?;
        let bytes = self.bytes_from(banner.address)?;
        let text = bytes.get(..memchr::memchr(0, bytes)?)?;
        Some(String::from_utf8_lossy(text).trim_end().to_owned())
    }

    /// Size in bytes of a structure of the kernel, by its type information; `None` if it carries none, or
    /// knows no such structure.
    pub fn structure_size(&self, name: &str) -> Option<u64> {
        let section = self.elf.sections.iter().find(|s| s.name == ".BTF")?;
        btf::structure_size(self.elf.content(section), name)
    }

    /// Can a live patch redirect the function at this address? Then the kernel's list of calls of
    /// `__fentry__` has its first instruction, or the one behind its landing pad.
    pub fn is_traceable(&self, address: u64) -> bool {
        self.traced.contains(&address) || self.traced.contains(&address.wrapping_add(machine::LANDING_PAD))
    }

    /// Are there calls at the places where its functions are traced, rather than nops?
    pub(super) fn calls_tracer(&self) -> bool {
        let first = self.traced.iter().next().and_then(|at| self.bytes(*at, 1)).and_then(|b| b.first());
        first.is_some_and(|first| machine::is_call(*first))
    }

    /// Does the kernel take the landing pad of the function at this address away as it starts? Then no new
    /// reference may lead to it but calls.
    pub fn is_sealed(&self, address: u64) -> bool {
        self.sealed.contains(&address)
    }

    fn traced_places(&self) -> HashSet<u64> {
        let bound = |name: &str| self.named(name).next().map(|symbol| symbol.address);
        let bounds = bound("__start_mcount_loc").zip(bound("__stop_mcount_loc"));
        let bytes = bounds.and_then(|(start, end)| self.bytes(start, end.checked_sub(start)?));
        let place = |b: &[u8]| b.try_into().map(u64::from_le_bytes).unwrap_or_default();
        bytes.unwrap_or_default().chunks_exact(8).map(place).collect()
    }

    fn sealed_functions(&self) -> HashSet<u64> {
        let Some(section) = self.elf.sections.iter().find(|s| s.name == ".ibt_endbr_seal") else {
            return HashSet::new();
        };
        let function = |(entry, b): (u64, &[u8])| {
            let distance = i32::from_le_bytes(b.try_into().unwrap_or_default());
            section.address.wrapping_add(4 * entry).wrapping_add_signed(distance.into())
        };
        (0..).zip(self.elf.content(section).chunks_exact(4)).map(function).collect()
    }
}
