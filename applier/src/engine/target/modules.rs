//! The ELF files mapped into a process, as they are in its memory: works for removed files and other mount
//! namespaces.

use super::{
    elf::{self, Segment},
    maps::{self, Mapping},
    memory::Memory,
};
use crate::sys::page;
use patchfile::BuildId;

/// An executable or shared object in memory.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Path as the process sees it, or `[vdso]`.
    pub path: String,
    /// Device and inode of the file.
    pub file: (u64, u64),
    /// Lowest address.
    pub start: u64,
    /// Address after the highest, `.bss` included.
    pub end: u64,
    /// Run-time address minus link-time address.
    pub bias: u64,
    /// Is it position dependent?
    pub fixed: bool,
    /// `e_machine`.
    pub machine: u16,
    /// Run-time address of the first instruction.
    pub entry: u64,
    /// Program headers.
    pub segments: Vec<Segment>,
}

impl Module {
    /// Its build-id.
    pub(crate) fn build_id(&self, memory: &Memory) -> Option<BuildId> {
        self.of_kind(elf::NOTE).find_map(|s| {
            let len = usize::try_from(s.file_size).ok().filter(|n| *n < 1 << 20)?;
            patchfile::identity::build_id(&memory.cached(self.bias.wrapping_add(s.address), len)?)
        })
    }

    /// The program headers of one kind.
    pub(crate) fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(move |s| s.kind == kind)
    }

    /// Is `address` in one of its executable segments?
    #[cfg(test)]
    pub(crate) fn executes(&self, address: u64) -> bool {
        let link = address.wrapping_sub(self.bias);
        self.of_kind(elf::LOAD)
            .any(|s| s.flags & elf::EXECUTE != 0 && link >= s.address && link - s.address < s.size)
    }

    /// Is it a C library, by its name?
    pub(crate) fn is_c_library(&self) -> bool {
        let name = self.name();
        name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("ld-musl")
    }

    /// File name for messages.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Is this mapping where an ELF file that also has executable mappings begins?
pub(crate) fn begins_module(maps: &[Mapping], index: usize) -> bool {
    let first = &maps[index];
    if !first.read || first.offset != 0 {
        return false;
    }
    if first.name == "[vdso]" || (first.execute && first.inode != 0) {
        return true;
    }
    let later = maps[index + 1..].iter().take(64);
    let mut later = later.take_while(|m| m.inode == 0 || m.same_file(first));
    first.inode != 0 && later.any(|m| m.execute && m.same_file(first))
}

/// Does the start of the file appear in the mapping before this one too? lld lays segments out so that they
/// share pages of the file, hence a small program has its header mapped twice; only the headers tell which is
/// the beginning.
pub(crate) fn repeats_start(maps: &[Mapping], index: usize) -> bool {
    let before = index.checked_sub(1).and_then(|i| maps.get(i));
    before.is_some_and(|m| m.offset == 0 && m.end == maps[index].start && m.same_file(&maps[index]))
}

/// All modules of a process, in address order.
pub(crate) fn list(maps: &[Mapping], memory: &Memory) -> Vec<Module> {
    let starts = (0..maps.len()).filter(|i| begins_module(maps, *i));
    starts.filter_map(|i| module_at(maps, i, memory)).collect()
}

/// The module whose file header is at the start of this mapping; `None` if what follows is not what the
/// header says.
pub(crate) fn module_at(maps: &[Mapping], index: usize, memory: &Memory) -> Option<Module> {
    let first = &maps[index];
    let module = by_header(first.start, memory)?;
    if !module.of_kind(elf::LOAD).all(|s| agrees(s, module.bias, first, maps)) {
        return None;
    }
    let path = first.path().0.to_owned();
    Some(Module { path, file: (first.device, first.inode), ..module })
}

/// The module whose file header is at `start`, as the kernel maps it: what file it is is left open.
pub(crate) fn by_header(start: u64, memory: &Memory) -> Option<Module> {
    let header = elf::header(&memory.cached(start, elf::HEADER)?)?;
    let table = memory.cached(start.checked_add(header.table)?, 56 * usize::from(header.count))?;
    let segments = elf::segments(&table);
    let loads = || segments.iter().filter(|s| s.kind == elf::LOAD);
    let head = loads().find(|s| s.offset == 0)?;
    let bias = start.wrapping_sub(page::floor(head.address));
    let low = loads().map(|s| page::floor(s.address)).min()?;
    let high =
        loads().filter_map(|s| s.address.checked_add(s.size)).max()?.checked_next_multiple_of(page::size())?;
    Some(Module {
        path: String::new(),
        file: (0, 0),
        start: bias.wrapping_add(low),
        end: bias.wrapping_add(high),
        bias,
        fixed: header.fixed,
        machine: header.machine,
        entry: bias.wrapping_add(header.entry),
        segments,
    })
}

/// Is this segment mapped where a module that begins with `first` has it? Memory without a file may have
/// taken a segment's place (a program that moves its code to huge pages does that).
fn agrees(segment: &Segment, bias: u64, first: &Mapping, maps: &[Mapping]) -> bool {
    let address = page::floor(bias.wrapping_add(segment.address));
    if first.inode == 0 || segment.file_size == 0 {
        return true;
    }
    let Some(mapping) = maps::at(maps, address) else { return false };
    if mapping.replaced {
        return true;
    }
    if !mapping.same_file(first) {
        return mapping.inode == 0;
    }
    mapping.offset + (address - mapping.start) == page::floor(segment.offset)
        && (mapping.execute || segment.flags & elf::EXECUTE == 0)
}
