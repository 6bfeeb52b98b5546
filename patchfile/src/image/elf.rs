//! Patch ELF files: an `ET_DYN` ELF64 (gABI) whose `PT_LOAD` segments are those of the image, with a symbol
//! table for debuggers and one `.upatch.*` section for each table of the image.

use super::codec::Encoder;
use super::debug::DebugLink;
use super::tables;
use super::{Access, Image, ImageError, Segment};

// Values of the gABI, chapter "Object Files".
pub(super) const IDENT: [u8; 16] = [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(super) const ET_DYN: u16 = 3;
pub(super) const PT_LOAD: u32 = 1;
pub(super) const PF_X: u32 = 1;
pub(super) const PF_W: u32 = 2;
pub(super) const PF_R: u32 = 4;
pub(super) const SHT_PROGBITS: u32 = 1;
pub(super) const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_STRTAB: u32 = 3;
pub(super) const SHT_NOBITS: u32 = 8;
const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHN_ABS: u16 = 0xfff1;
pub(super) const STT_OBJECT: u8 = 1;
pub(super) const STT_FUNC: u8 = 2;
pub(super) const EHDR: usize = 64;
pub(super) const PHDR: usize = 56;
pub(super) const SHDR: usize = 64;
pub(super) const SYM: usize = 24;

/// A section to be written.
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    entry: u64,
}

impl Section {
    fn table(name: &'static str, offset: usize, size: usize) -> Self {
        Self {
            name,
            kind: SHT_PROGBITS,
            flags: 0,
            address: 0,
            offset: offset as u64,
            size: size as u64,
            link: 0,
            info: 0,
            entry: 0,
        }
    }
}

/// Most bytes of nothing between two segments of a file.
const GAP: usize = 1 << 20;

/// Where in a file of `len` bytes the content of a segment goes: as far from its beginning as it is in memory
/// from the image's, where that costs little. Profilers look a symbol up by that distance (`perf report` has
/// it from the mapping, and takes it for an offset in the file).
fn place(len: usize, address: u64, page: usize) -> usize {
    let same = usize::try_from(address).ok().filter(|a| *a >= len && *a - len <= GAP);
    same.unwrap_or_else(|| len.next_multiple_of(page))
}

impl Image {
    /// The bytes of the patch ELF. The same image always gives the same bytes.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] when the image breaks one of its own rules, see [`Image::validate`].
    pub fn write(&self) -> Result<Vec<u8>, ImageError> {
        self.write_with(None)
    }

    /// As [`Image::write`], with the name of the file that has the debug information.
    ///
    /// # Errors
    /// As [`Image::write`].
    pub fn write_with(&self, debug: Option<&DebugLink>) -> Result<Vec<u8>, ImageError> {
        self.validate()?;
        let mut out = vec![0; EHDR + PHDR * self.segments.len()];
        let page = self.arch.facts().page as usize;
        let mut offsets = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            if !segment.data.is_empty() {
                out.resize(place(out.len(), segment.address, page), 0);
            }
            offsets.push(out.len() as u64);
            out.extend_from_slice(&segment.data);
        }
        let mut sections = self.content_sections(&offsets);
        for (name, table) in tables::encode(self) {
            append_section(&mut out, &mut sections, name, &table);
        }
        if let Some(link) = debug {
            append_section(&mut out, &mut sections, ".gnu_debuglink", &link.encode());
        }
        Ok(self.finish(out, sections, Some(&offsets)))
    }

    /// The bytes of the file with debug information that goes beside the patch ELF: its sections without
    /// their content, as `objcopy --only-keep-debug` leaves them, its symbols, and `debug`, sections by name.
    /// Addresses in it are those of the image.
    pub fn write_debug(&self, debug: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
        let mut out = vec![0; EHDR + PHDR * self.segments.len()];
        let mut sections = self.content_sections(&vec![0; self.segments.len()]);
        for section in &mut sections {
            section.kind = SHT_NOBITS;
            section.offset = out.len() as u64;
        }
        for (name, data) in debug {
            append_section(&mut out, &mut sections, name, data);
        }
        self.finish(out, sections, None)
    }

    /// Adds symbols and headers. `offsets`: where the segments' contents are, if the file has them.
    fn finish(&self, mut out: Vec<u8>, mut sections: Vec<Section>, offsets: Option<&[u64]>) -> Vec<u8> {
        self.append_symbols(&mut out, &mut sections);
        let names_at = out.len();
        out.push(0);
        let mut name_offsets = Vec::with_capacity(sections.len());
        for section in &sections {
            name_offsets.push(out.len() - names_at);
            out.extend_from_slice(section.name.as_bytes());
            out.push(0);
        }
        let own_name = out.len() - names_at;
        out.extend_from_slice(b".shstrtab\0");
        let mut names = Section::table(".shstrtab", names_at, out.len() - names_at);
        names.kind = SHT_STRTAB;
        sections.push(names);
        name_offsets.push(own_name);
        out.resize(out.len().next_multiple_of(8), 0);
        let headers_at = out.len();
        out.extend_from_slice(&[0; SHDR]);
        for (section, name) in sections.iter().zip(name_offsets) {
            append_section_header(&mut out, section, name);
        }
        let header = self.file_header(headers_at as u64, sections.len());
        out[..EHDR].copy_from_slice(&header);
        for (index, segment) in self.segments.iter().enumerate() {
            let at = EHDR + PHDR * index;
            let offset = offsets.and_then(|o| o.get(index).copied());
            out[at..at + PHDR].copy_from_slice(&program_header(segment, offset, self.arch.facts().page));
        }
        out
    }

    fn file_header(&self, sections_at: u64, sections: usize) -> Vec<u8> {
        let mut h = Encoder::default();
        h.raw(&IDENT).u16(ET_DYN).u16(self.arch.e_machine());
        h.u32(1).u64(0).u64(EHDR as u64).u64(sections_at).u32(0);
        h.u16(EHDR as u16).u16(PHDR as u16).u16(self.segments.len() as u16);
        // Section 0 is the null section; the last one holds the names.
        h.u16(SHDR as u16).u16(sections as u16 + 1).u16(sections as u16);
        h.0
    }

    /// Section headers over the segments' contents, named as debuggers expect them.
    fn content_sections(&self, offsets: &[u64]) -> Vec<Section> {
        let mut sections = Vec::new();
        for (index, (segment, &offset)) in self.segments.iter().zip(offsets).enumerate() {
            let (name, extra) = match segment.access {
                _ if index == 0 => (".upatch.control", 0),
                Access::Read => (".rodata", 0),
                Access::Execute => (".text", SHF_EXECINSTR),
                Access::Write => (".data", SHF_WRITE),
            };
            let mut add = |name, kind, start: u64, end: u64| {
                if start < end {
                    sections.push(Section {
                        name,
                        kind,
                        flags: SHF_ALLOC | extra,
                        address: segment.address + start,
                        offset: offset + start.min(segment.data.len() as u64),
                        size: end - start,
                        link: 0,
                        info: 0,
                        entry: 0,
                    });
                }
            };
            let filled = segment.data.len() as u64;
            let eh = self
                .unwind
                .filter(|u| u.eh_frame >= segment.address && u.eh_frame < segment.address + filled);
            if let Some(unwind) = eh {
                let start = unwind.eh_frame - segment.address;
                let end = (start + unwind.eh_frame_size).min(filled);
                add(name, SHT_PROGBITS, 0, start);
                add(".eh_frame", SHT_PROGBITS, start, end);
                add(name, SHT_PROGBITS, end, filled);
            } else {
                add(name, SHT_PROGBITS, 0, filled);
            }
            let zero_name = if index == 0 { name } else { ".bss" };
            add(zero_name, SHT_NOBITS, filled, segment.size);
        }
        sections
    }

    fn append_symbols(&self, out: &mut Vec<u8>, sections: &mut Vec<Section>) {
        let mut strings = vec![0];
        let mut table = vec![0; SYM];
        for symbol in &self.symbols {
            let kind = if symbol.function { STT_FUNC } else { STT_OBJECT };
            let home = sections.iter().position(|s| {
                s.flags & SHF_ALLOC != 0 && (s.address..s.address + s.size).contains(&symbol.address)
            });
            let mut e = Encoder::default();
            e.u32(strings.len() as u32);
            let section = home.map_or(SHN_ABS, |i| i as u16 + 1);
            e.u8(kind).u8(0).u16(section).u64(symbol.address).u64(symbol.size);
            table.extend_from_slice(&e.0);
            strings.extend_from_slice(symbol.name.as_bytes());
            strings.push(0);
        }
        out.resize(out.len().next_multiple_of(8), 0);
        let mut section = Section::table(".symtab", out.len(), table.len());
        section.kind = SHT_SYMTAB;
        section.link = sections.len() as u32 + 2;
        section.info = (table.len() / SYM) as u32;
        section.entry = SYM as u64;
        sections.push(section);
        out.extend_from_slice(&table);
        let mut section = Section::table(".strtab", out.len(), strings.len());
        section.kind = SHT_STRTAB;
        sections.push(section);
        out.extend_from_slice(&strings);
    }
}

/// Puts a section that is not loaded at the end of the file.
fn append_section(out: &mut Vec<u8>, sections: &mut Vec<Section>, name: &'static str, data: &[u8]) {
    out.resize(out.len().next_multiple_of(8), 0);
    sections.push(Section::table(name, out.len(), data.len()));
    out.extend_from_slice(data);
}

/// `offset` of the content; `None` if the file does not have it.
fn program_header(segment: &Segment, offset: Option<u64>, page: u64) -> Vec<u8> {
    let flags = match segment.access {
        Access::Read => PF_R,
        Access::Execute => PF_R | PF_X,
        Access::Write => PF_R | PF_W,
    };
    let mut h = Encoder::default();
    // A segment without contents has no place in the file; its offset only has to be congruent to its
    // address.
    let filled = offset.map_or(0, |_| segment.data.len() as u64);
    let offset = offset.filter(|_| filled > 0).unwrap_or(0);
    h.u32(PT_LOAD).u32(flags).u64(offset).u64(segment.address).u64(segment.address);
    h.u64(filled).u64(segment.size).u64(page);
    h.0
}

fn append_section_header(out: &mut Vec<u8>, section: &Section, name: usize) {
    let mut h = Encoder::default();
    h.u32(name as u32)
        .u32(section.kind)
        .u64(section.flags)
        .u64(section.address)
        .u64(section.offset)
        .u64(section.size);
    h.u32(section.link)
        .u32(section.info)
        .u64(if section.kind == SHT_SYMTAB { 8 } else { 1 })
        .u64(section.entry);
    out.extend_from_slice(&h.0);
}
