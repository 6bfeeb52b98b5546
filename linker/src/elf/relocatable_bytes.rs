//! Writes a relocatable object. Equal objects have equal bytes.

use std::collections::HashMap;

use super::file::Rela;
use super::relocatable::{NO_SYMBOL, PlainPlace, Relocatable};
use super::{SHT_NOBITS, SHT_RELA, STB_LOCAL, STT_SECTION};

const HEADER: usize = 64;
const SECTION_HEADER: u16 = 64;
const SYMBOL: u64 = 24;
const RELA: u64 = 24;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
/// `sh_info` is the index of a section.
const SHF_INFO_LINK: u64 = 0x40;
const SHF_LINK_ORDER: u64 = 0x80;
const ET_REL: u16 = 1;
/// Numbers from here on are reserved.
const SHN_LORESERVE: usize = 0xff00;

/// Names, each once, behind an empty one.
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Strings {
    fn new() -> Self {
        Self { bytes: vec![0], known: HashMap::from([(String::new(), 0)]) }
    }

    fn add(&mut self, name: &str) -> Result<u32, String> {
        if let Some(at) = self.known.get(name) {
            return Ok(*at);
        }
        let at = u32::try_from(self.bytes.len()).map_err(|_| "its names are too long")?;
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.known.insert(name.to_owned(), at);
        Ok(at)
    }
}

/// `Elf64_Shdr`, with its content.
struct Header<'a> {
    name: u32,
    kind: u32,
    flags: u64,
    content: std::borrow::Cow<'a, [u8]>,
    size: u64,
    link: usize,
    info: usize,
    align: u64,
    entry_size: u64,
}

impl Relocatable {
    /// The file.
    ///
    /// # Errors
    /// In words, when it has more than the format has numbers for, or a relocation without a symbol.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        // Local symbols come first (gABI, "Symbol Table").
        let (mut order, globals): (Vec<usize>, Vec<usize>) =
            (0..self.symbols.len()).partition(|i| self.symbols[*i].binding == STB_LOCAL);
        let locals = order.len() + 1;
        order.extend(globals);
        let mut number = vec![0_u64; self.symbols.len()];
        for (at, index) in (1..).zip(&order) {
            number[*index] = at;
        }

        let mut names = Strings::new();
        let mut headers = Vec::new();
        for section in &self.sections {
            let link = if section.has(SHF_LINK_ORDER) { section.link + 1 } else { 0 };
            headers.push(Header {
                name: names.add(&section.name)?,
                kind: section.kind,
                flags: section.flags,
                content: section.data.as_slice().into(),
                size: if section.kind == SHT_NOBITS { section.size } else { section.data.len() as u64 },
                link,
                info: 0,
                align: section.align,
                entry_size: section.entry_size,
            });
        }
        let tables = self.sections.iter().map(|s| usize::from(!s.relocations.is_empty()) + s.further.len());
        let symbol_table = 1 + self.sections.len() + tables.sum::<usize>();
        for (at, section) in (1..).zip(&self.sections) {
            let own = (format!(".rela{}", section.name), SHF_INFO_LINK, &section.relocations);
            let own = Some(own).filter(|(_, _, list)| !list.is_empty());
            let further = section.further.iter().map(|f| (f.name.clone(), f.flags, &f.relocations));
            for (name, flags, list) in own.into_iter().chain(further) {
                let content = rela_bytes(list, &number)?;
                headers.push(Header {
                    name: names.add(&name)?,
                    kind: SHT_RELA,
                    flags,
                    size: content.len() as u64,
                    content: content.into(),
                    link: symbol_table,
                    info: at,
                    align: 8,
                    entry_size: RELA,
                });
            }
        }
        let mut strings = Strings::new();
        let symbols = self.symbol_bytes(&order, &mut strings)?;
        for (name, kind, content, link, info, align, entry_size) in [
            (".symtab", SHT_SYMTAB, symbols, symbol_table + 1, locals, 8, SYMBOL),
            (".strtab", SHT_STRTAB, strings.bytes, 0, 0, 1, 0),
        ] {
            let (name, size) = (names.add(name)?, content.len() as u64);
            let content = content.into();
            headers.push(Header { name, kind, flags: 0, content, size, link, info, align, entry_size });
        }
        let name = names.add(".shstrtab")?;
        let (content, size) = (names.bytes.into(), 0);
        let last = Header {
            name,
            kind: SHT_STRTAB,
            flags: 0,
            content,
            size,
            link: 0,
            info: 0,
            align: 1,
            entry_size: 0,
        };
        headers.push(last);
        self.put_together(headers)
    }

    fn symbol_bytes(&self, order: &[usize], strings: &mut Strings) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; 24];
        for symbol in order.iter().map(|i| &self.symbols[*i]) {
            let name = if symbol.kind == STT_SECTION { 0 } else { strings.add(&symbol.name)? };
            let section = match symbol.place {
                PlainPlace::Undefined => 0,
                PlainPlace::Section(section) => {
                    u16::try_from(section + 1).map_err(|_| "it has too many sections")?
                }
                PlainPlace::Reserved(number) => number,
            };
            bytes.extend(name.to_le_bytes());
            bytes.extend([symbol.binding << 4 | symbol.kind & 0xf, symbol.other]);
            bytes.extend(section.to_le_bytes());
            bytes.extend(symbol.value.to_le_bytes());
            bytes.extend(symbol.size.to_le_bytes());
        }
        Ok(bytes)
    }

    fn put_together(&self, headers: Vec<Header<'_>>) -> Result<Vec<u8>, String> {
        let count = headers.len() + 1;
        if count >= SHN_LORESERVE {
            return Err("it has too many sections".to_owned());
        }
        let count = u16::try_from(count).map_err(|_| "it has too many sections")?;
        let mut bytes = vec![0; HEADER];
        let mut table = vec![0; usize::from(SECTION_HEADER)];
        for header in &headers {
            let align = usize::try_from(header.align.max(1)).map_err(|_| "an alignment is too large")?;
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            let size = if header.kind == SHT_NOBITS { header.size } else { header.content.len() as u64 };
            table.extend(header.name.to_le_bytes());
            table.extend(header.kind.to_le_bytes());
            table.extend(header.flags.to_le_bytes());
            table.extend(0_u64.to_le_bytes());
            table.extend((bytes.len() as u64).to_le_bytes());
            table.extend(size.to_le_bytes());
            for number in [header.link, header.info] {
                table.extend(u32::try_from(number).map_err(|_| "it has too many symbols")?.to_le_bytes());
            }
            table.extend(header.align.to_le_bytes());
            table.extend(header.entry_size.to_le_bytes());
            bytes.extend_from_slice(&header.content);
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let mut start = Vec::with_capacity(HEADER);
        start.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        start.extend(ET_REL.to_le_bytes());
        start.extend(self.machine.to_le_bytes());
        start.extend(1_u32.to_le_bytes());
        start.extend([0; 16]);
        start.extend((bytes.len() as u64).to_le_bytes());
        start.extend(self.header_flags.to_le_bytes());
        for number in [HEADER as u16, 0, 0, SECTION_HEADER, count, count - 1] {
            start.extend(number.to_le_bytes());
        }
        bytes[..HEADER].copy_from_slice(&start);
        bytes.extend(table);
        Ok(bytes)
    }
}

fn rela_bytes(list: &[Rela], number: &[u64]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for rela in list {
        let symbol = match rela.symbol {
            NO_SYMBOL => 0,
            symbol => *number.get(symbol).ok_or("a relocation has no symbol")?,
        };
        bytes.extend(rela.offset.to_le_bytes());
        bytes.extend((symbol << 32 | u64::from(rela.kind)).to_le_bytes());
        bytes.extend(rela.addend.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (source, output) = (dir.path().join("a.c"), dir.path().join("a.o"));
        let text = "int zero[9]; int one = 1; static int two(void) { return one; }\n\
                    int (*three)(void) = two; extern void four(void); void five(void) { four(); zero[1] = 2; \
                    }\n";
        std::fs::write(&source, text).unwrap();
        let mut gcc = std::process::Command::new("gcc");
        let done =
            gcc.args(["-c", "-O1", "-g", "-ffunction-sections", "-o"]).arg(&output).arg(&source).status();
        assert!(done.unwrap().success());
        let object = Relocatable::read(&std::fs::read(&output).unwrap()).unwrap();
        let bytes = object.to_bytes().unwrap();
        let again = Relocatable::read(&bytes).unwrap();
        assert_eq!(object, again);
        assert_eq!(again.to_bytes().unwrap(), bytes);
        std::fs::write(&output, &bytes).unwrap();
        let mut ld = std::process::Command::new("ld");
        assert!(ld.args(["-r", "-o"]).arg(dir.path().join("b.o")).arg(&output).status().unwrap().success());
    }
}
