//! A patch object of everything in a unit: each function replaced, data that exists kept, the rest shipped.
//! Cruder than the differ on purpose: more kinds of references have to be joined, and these tests depend on
//! no comparison.

use std::collections::HashMap;

use differ::{
    Binding, PatchObject, PatchSection, PatchSymbol, Relocation, SectionKind, SymbolPlace, SymbolType,
    Visibility,
};
/// A relocatable file, read without bounds checks: it comes from the assembler.
struct Raw<'a> {
    data: &'a [u8],
}

struct Section {
    name: String,
    kind: u32,
    flags: u64,
    offset: usize,
    size: usize,
    link: usize,
    info: usize,
    align: u64,
}

struct Sym {
    name: String,
    value: u64,
    size: u64,
    kind: u8,
    binding: u8,
    visibility: u8,
    section: usize,
    common: bool,
}

impl Raw<'_> {
    fn word(&self, at: usize, len: usize) -> u64 {
        self.data[at..at + len].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
    }
    fn at(&self, at: usize) -> usize {
        usize::try_from(self.word(at, 8)).unwrap()
    }
    fn string(&self, at: usize) -> String {
        let end = self.data[at..].iter().position(|b| *b == 0).unwrap();
        String::from_utf8(self.data[at..at + end].to_vec()).unwrap()
    }
    fn sections(&self) -> Vec<Section> {
        let start = self.at(40);
        let names = self.at(start + usize::try_from(self.word(62, 2)).unwrap() * 64 + 24);
        let header = |i: usize| {
            let at = start + i * 64;
            let small = |o: usize| usize::try_from(self.word(at + o, 4)).unwrap();
            Section {
                name: self.string(names + small(0)),
                kind: small(4) as u32,
                flags: self.word(at + 8, 8),
                offset: self.at(at + 24),
                size: self.at(at + 32),
                link: small(40),
                info: small(44),
                align: self.word(at + 48, 8),
            }
        };
        (0..usize::try_from(self.word(60, 2)).unwrap()).map(header).collect()
    }
    fn symbols(&self) -> Vec<Sym> {
        let sections = self.sections();
        let table = sections.iter().find(|s| s.kind == 2).unwrap();
        let strings = sections[table.link].offset;
        let symbol = |i: usize| {
            let at = table.offset + i * 24;
            let shndx = usize::try_from(self.word(at + 6, 2)).unwrap();
            Sym {
                name: self.string(strings + usize::try_from(self.word(at, 4)).unwrap()),
                value: self.word(at + 8, 8),
                size: self.word(at + 16, 8),
                kind: self.data[at + 4] & 15,
                binding: self.data[at + 4] >> 4,
                visibility: self.data[at + 5] & 3,
                section: if shndx >= 0xff00 { 0 } else { shndx },
                common: shndx == 0xfff2,
            }
        };
        (0..table.size / 24).map(symbol).collect()
    }
}

fn kind_of(name: &str, sh_type: u32, flags: u64) -> Option<SectionKind> {
    Some(match () {
        () if name == ".eh_frame" => SectionKind::EhFrame,
        () if name.starts_with(".gcc_except_table") => SectionKind::Lsda,
        () if flags & 2 == 0 || name.starts_with(".note") || name == ".init_array" => return None,
        () if flags & 4 != 0 => SectionKind::Text,
        () if flags & 0x400 != 0 => SectionKind::Tls,
        () if name.starts_with(".data.rel.ro") => SectionKind::RelRo,
        () if flags & 1 == 0 => SectionKind::Rodata,
        () if sh_type == 8 => SectionKind::Bss,
        () => SectionKind::Data,
    })
}

/// Ships all of `patched`.
pub(crate) fn extract(original: &[u8], patched: &[u8], name: &str) -> PatchObject {
    let had: HashMap<String, bool> =
        Raw { data: original }.symbols().into_iter().map(|s| (s.name, s.section != 0 || s.common)).collect();
    let raw = Raw { data: patched };
    let table = raw.sections();
    let symbols = raw.symbols();
    let mut sections: Vec<PatchSection> = Vec::new();
    let mut index_of = HashMap::new();
    for (i, s) in table.iter().enumerate() {
        let Some(kind) = kind_of(&s.name, s.kind, s.flags).filter(|_| s.size > 0 && s.kind != 4) else {
            continue;
        };
        // Existing writable data keeps its place: only what is new is shipped.
        let own = symbols.iter().find(|y| y.section == i && matches!(y.kind, 1 | 6));
        let live = matches!(kind, SectionKind::Data | SectionKind::Bss | SectionKind::Tls);
        if live && own.is_some_and(|y| had.get(&y.name).copied().unwrap_or(false)) {
            continue;
        }
        index_of.insert(i, sections.len());
        let data = if s.kind == 8 { Vec::new() } else { raw.data[s.offset..s.offset + s.size].to_vec() };
        let (align, size, flags) = (s.align.max(1), s.size as u64, s.flags);
        sections.push(PatchSection {
            name: s.name.clone(),
            kind,
            align,
            data,
            size,
            flags,
            relocations: Vec::new(),
        });
    }
    for s in table.iter().filter(|s| s.kind == 4) {
        let Some(&to) = index_of.get(&s.info) else { continue };
        for at in (s.offset..s.offset + s.size).step_by(24) {
            let offset = raw.word(at, 8);
            let r_type = raw.word(at + 8, 4) as u32;
            let mut symbol = usize::try_from(raw.word(at + 12, 4)).unwrap();
            let addend = raw.word(at + 16, 8).cast_signed();
            // The assembler writes `.bss.count` for a static `count`, and `.text.f + n` for a label in `f`:
            // as the differ does, name the symbol.
            let meant = &symbols[symbol];
            let code = index_of.get(&meant.section).is_some_and(|i| sections[*i].kind == SectionKind::Text);
            if meant.kind == 3 && (code || !index_of.contains_key(&meant.section)) {
                let named =
                    |y: &Sym| y.section == meant.section && y.kind != 3 && y.value == 0 && !y.name.is_empty();
                symbol = symbols.iter().position(named).unwrap_or(symbol);
            }
            let field = usize::try_from(offset).unwrap();
            let data = &sections[to].data;
            let code = sections[to].kind == SectionKind::Text;
            let short = field >= 1 && matches!(data[field - 1], 0xe8 | 0xe9);
            let conditional = field >= 2 && data[field - 2] == 0x0f && data[field - 1] & 0xf0 == 0x80;
            let is_branch = code && matches!(r_type, 2 | 4) && (short || conditional);
            sections[to].relocations.push(Relocation { offset, r_type, symbol, addend, is_branch });
        }
        sections[to].relocations.sort_by_key(|r| r.offset);
    }
    let symbols = symbols.iter().map(|s| {
        let function = s.kind == 2;
        let existed = had.get(&s.name).copied().unwrap_or(false);
        let place = match index_of.get(&s.section) {
            Some(&section) => SymbolPlace::Defined {
                section,
                offset: s.value,
                size: s.size,
                replaces: (function && existed && s.size > 0).then(|| s.name.clone()),
                old_fragments: Vec::new(),
            },
            None if s.section != 0 || s.common => {
                SymbolPlace::Existing { orig_name: s.name.clone(), is_function: function }
            }
            None => SymbolPlace::Undefined,
        };
        PatchSymbol {
            name: s.name.clone(),
            binding: [Binding::Local, Binding::Global, Binding::Weak][usize::from(s.binding.min(2))],
            visibility: [
                Visibility::Default,
                Visibility::Internal,
                Visibility::Hidden,
                Visibility::Protected,
            ][usize::from(s.visibility)],
            stype: match s.kind {
                1 => SymbolType::Object,
                2 => SymbolType::Function,
                3 => SymbolType::Section,
                6 => SymbolType::Tls,
                10 => SymbolType::IFunc,
                _ => SymbolType::None,
            },
            place,
        }
    });
    PatchObject { machine: 62, source_file: name.to_owned(), symbols: symbols.collect(), sections }
}
