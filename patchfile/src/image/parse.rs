//! Reading patch ELF files. The input is untrusted: every offset is checked, and nothing is set aside that
//! the file could not fill.

use super::codec::Decoder;
use super::elf::{
    EHDR, ET_DYN, IDENT, PF_R, PF_W, PF_X, PHDR, PT_LOAD, SHDR, SHT_NOBITS, SHT_PROGBITS, SHT_STRTAB,
    SHT_SYMTAB, STT_FUNC, STT_OBJECT, SYM,
};
use super::{Access, Image, ImageError, Segment, Symbol, tables};
use crate::Arch;

/// The parts of a section header that matter here.
struct Section<'a> {
    name: &'a [u8],
    kind: u32,
    data: &'a [u8],
    link: u32,
}

fn not_ours(why: impl Into<String>) -> ImageError {
    ImageError::Elf(why.into())
}

fn slice(bytes: &[u8], offset: u64, size: u64) -> Result<&[u8], ImageError> {
    let start = usize::try_from(offset).ok();
    let end = offset.checked_add(size).and_then(|end| usize::try_from(end).ok());
    start
        .zip(end)
        .and_then(|(s, e)| bytes.get(s..e))
        .ok_or_else(|| not_ours("a header points outside the file"))
}

impl Image {
    /// Reads a patch ELF and checks every invariant of [`Image::validate`].
    ///
    /// # Errors
    /// See [`ImageError`]; never panics, whatever the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.get(..16) != Some(&IDENT) {
            return Err(not_ours("no little-endian ELF64 header"));
        }
        let mut header = Decoder::new("ELF header", slice(bytes, 16, EHDR as u64 - 16)?);
        if header.u16()? != ET_DYN {
            return Err(not_ours("not of type ET_DYN"));
        }
        let machine = header.u16()?;
        header.u32()?;
        header.u64()?;
        let segments_at = header.u64()?;
        let sections_at = header.u64()?;
        header.u32()?;
        if usize::from(header.u16()?) != EHDR || usize::from(header.u16()?) != PHDR {
            return Err(not_ours("headers of an unknown size"));
        }
        let segment_count = header.u16()?;
        if usize::from(header.u16()?) != SHDR {
            return Err(not_ours("section headers of an unknown size"));
        }
        let section_count = header.u16()?;
        let names = header.u16()?;
        let sections = read_sections(bytes, sections_at, section_count, names)?;
        let table = |name: &str| {
            let found = sections.iter().find(|s| s.name == name.as_bytes() && s.kind == SHT_PROGBITS);
            found.map(|s| s.data).ok_or_else(|| not_ours(format!("no section {name}")))
        };
        // The version first: another one may mean anything else has changed.
        let (format, target) = tables::decode_target(table(tables::TARGET)?)?;
        let exports = table(tables::EXPORTS).map_or(Ok(Vec::new()), tables::decode_exports)?;
        let companions = table(tables::COMPANIONS).map_or(Ok(Vec::new()), tables::decode_companions)?;
        let mut redirects = tables::decode_redirects(table(tables::REDIRECTS)?)?;
        if let Ok(hops) = table(tables::HOPS) {
            tables::decode_hops(hops, &mut redirects)?;
        }
        let image = Self {
            arch: Arch::from_e_machine(machine).ok_or(ImageError::Machine(machine))?,
            target,
            segments: read_segments(bytes, segments_at, segment_count)?,
            redirects,
            references: tables::decode_references(table(tables::REFERENCES)?)?,
            relocations: tables::decode_relocations(table(tables::RELOCATIONS)?)?,
            symbols: read_symbols(&sections)?,
            unwind: tables::decode_unwind(table(tables::UNWIND)?)?,
            hooks: tables::decode_hooks(table(tables::HOOKS)?)?,
            exports,
            companions,
        };
        if image.format() > format {
            return Err(not_ours(format!("it holds what format version {format} does not know")));
        }
        image.validate()?;
        Ok(image)
    }
}

fn read_sections(bytes: &[u8], at: u64, count: u16, names: u16) -> Result<Vec<Section<'_>>, ImageError> {
    let headers = slice(bytes, at, u64::from(count) * SHDR as u64)?;
    let mut raw = Vec::with_capacity(usize::from(count));
    for header in headers.chunks_exact(SHDR) {
        let mut d = Decoder::new("section headers", header);
        let (name, kind) = (d.u32()?, d.u32()?);
        d.u64()?;
        d.u64()?;
        let (offset, size, link) = (d.u64()?, d.u64()?, d.u32()?);
        let data = if kind == SHT_NOBITS || kind == 0 { &[] } else { slice(bytes, offset, size)? };
        raw.push((name, Section { name: b"", kind, data, link }));
    }
    let names = raw.get(usize::from(names)).filter(|(_, s)| s.kind == SHT_STRTAB).map(|(_, s)| s.data);
    let names = names.ok_or_else(|| not_ours("no section names"))?;
    Ok(raw.into_iter().map(|(name, section)| Section { name: string_at(names, name), ..section }).collect())
}

fn string_at(strings: &[u8], at: u32) -> &[u8] {
    let rest = strings.get(at as usize..).unwrap_or_default();
    rest.split(|b| *b == 0).next().unwrap_or_default()
}

fn read_segments(bytes: &[u8], at: u64, count: u16) -> Result<Vec<Segment>, ImageError> {
    let headers = slice(bytes, at, u64::from(count) * PHDR as u64)?;
    let mut segments = Vec::with_capacity(usize::from(count));
    for header in headers.chunks_exact(PHDR) {
        let mut d = Decoder::new("program headers", header);
        if d.u32()? != PT_LOAD {
            continue;
        }
        let access = match d.u32()? {
            PF_R => Access::Read,
            flags if flags == PF_R | PF_X => Access::Execute,
            flags if flags == PF_R | PF_W => Access::Write,
            flags => return Err(d.damaged(format!("a segment has rights {flags:#x}"))),
        };
        let (offset, address) = (d.u64()?, d.u64()?);
        d.u64()?;
        let (filled, size) = (d.u64()?, d.u64()?);
        segments.push(Segment { access, address, size, data: slice(bytes, offset, filled)?.to_vec() });
    }
    Ok(segments)
}

fn read_symbols(sections: &[Section<'_>]) -> Result<Vec<Symbol>, ImageError> {
    let Some(table) = sections.iter().find(|s| s.kind == SHT_SYMTAB) else { return Ok(Vec::new()) };
    let strings = sections.get(table.link as usize).map_or(&[][..], |s| s.data);
    let mut symbols = Vec::new();
    for record in table.data.chunks_exact(SYM).skip(1) {
        let mut d = Decoder::new("symbols", record);
        let (name, info) = (d.u32()?, d.u8()?);
        d.u8()?;
        d.u16()?;
        let (address, size) = (d.u64()?, d.u64()?);
        if matches!(info & 15, STT_FUNC | STT_OBJECT) {
            let name = String::from_utf8_lossy(string_at(strings, name)).into_owned();
            symbols.push(Symbol { name, address, size, function: info & 15 == STT_FUNC });
        }
    }
    Ok(symbols)
}
