//! Cuts functions out of an object, as the differ does with what changed.

use std::collections::HashMap;

use differ::{
    Binding, PatchObject, PatchSection, PatchSymbol, Relocation, SectionKind, SymbolPlace, SymbolType,
    Visibility,
};
use object::read::elf::ElfFile64;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget,
    SectionKind as Kind,
};

type File<'a> = ElfFile64<'a, object::LittleEndian>;

/// The patch object with the functions `replaced`, the new functions and data that they use, and strings.
pub(crate) fn cut(original: &[u8], patched: &[u8], replaced: &[&str]) -> PatchObject {
    let (old, new) = (File::parse(original).unwrap(), File::parse(patched).unwrap());
    let is_old = |name: &str| !name.is_empty() && old.symbol_by_name(name).is_some_and(|s| !s.is_undefined());
    let mut cutter = Cutter { new: &new, sections: Vec::new(), symbols: Vec::new(), known: HashMap::new() };
    for name in replaced {
        let symbol = new.symbol_by_name(name).unwrap();
        cutter.section(symbol.section_index().unwrap());
    }
    let mut at = 0;
    while at < cutter.sections.len() {
        let index = cutter.sections[at].0;
        let section = new.section_by_index(index).unwrap();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(target) = relocation.target() else { panic!("no symbol") };
            let RelocationFlags::Elf { r_type } = relocation.flags() else { panic!("no type") };
            let symbol = new.symbol_by_index(target).unwrap();
            // A section that holds one thing alone is meant by it.
            let named = new.symbols().find(|s| {
                symbol.kind() == object::SymbolKind::Section
                    && s.section_index() == symbol.section_index()
                    && s.kind() != object::SymbolKind::Section
                    && s.name().is_ok_and(|n| !n.is_empty())
            });
            let symbol = named.unwrap_or(symbol);
            let name = symbol.name().unwrap().to_owned();
            let index = if symbol.is_undefined() {
                cutter.symbol(&name, Binding::Global, SymbolType::None, SymbolPlace::Undefined)
            } else if is_old(&name) && !replaced.contains(&&*name) {
                let is_function = symbol.kind() == object::SymbolKind::Text;
                let place = SymbolPlace::Existing { orig_name: name.clone(), is_function };
                cutter.symbol(&name, Binding::Local, SymbolType::None, place)
            } else {
                let section = cutter.section(symbol.section_index().unwrap());
                cutter.defined(&symbol, section, replaced)
            };
            let before = section.data().unwrap()[offset as usize - 1];
            cutter.sections[at].1.relocations.push(Relocation {
                offset,
                r_type: r_type.0,
                symbol: index,
                addend: relocation.addend(),
                is_branch: section.kind() == Kind::Text && (before == 0xe8 || before == 0xe9),
            });
        }
        at += 1;
    }
    for name in replaced {
        let symbol = new.symbol_by_name(name).unwrap();
        let section = cutter.section(symbol.section_index().unwrap());
        cutter.defined(&symbol, section, replaced);
    }
    PatchObject {
        machine: 62,
        source_file: String::new(),
        sections: cutter.sections.into_iter().map(|(_, s)| s).collect(),
        symbols: cutter.symbols,
    }
}

struct Cutter<'a> {
    new: &'a File<'a>,
    sections: Vec<(object::SectionIndex, PatchSection)>,
    symbols: Vec<PatchSymbol>,
    known: HashMap<String, usize>,
}

impl Cutter<'_> {
    fn section(&mut self, index: object::SectionIndex) -> usize {
        if let Some(at) = self.sections.iter().position(|(i, _)| *i == index) {
            return at;
        }
        let section = self.new.section_by_index(index).unwrap();
        let kind = match section.kind() {
            Kind::Text => SectionKind::Text,
            Kind::Data => SectionKind::Data,
            Kind::UninitializedData => SectionKind::Bss,
            _ => SectionKind::Rodata,
        };
        let object::SectionFlags::Elf { sh_flags, .. } = section.flags() else { panic!("no flags") };
        self.sections.push((
            index,
            PatchSection {
                name: section.name().unwrap().to_owned(),
                kind,
                align: section.align(),
                data: section.data().unwrap().to_vec(),
                size: section.size(),
                flags: sh_flags.0,
                relocations: Vec::new(),
            },
        ));
        self.sections.len() - 1
    }

    fn symbol(&mut self, name: &str, binding: Binding, stype: SymbolType, place: SymbolPlace) -> usize {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let visibility = Visibility::Default;
        self.symbols.push(PatchSymbol { name: name.to_owned(), binding, visibility, stype, place });
        self.known.insert(name.to_owned(), self.symbols.len() - 1);
        self.symbols.len() - 1
    }

    fn defined<'s>(
        &mut self,
        symbol: &impl object::ObjectSymbol<'s>,
        section: usize,
        replaced: &[&str],
    ) -> usize {
        let name = symbol.name().unwrap().to_owned();
        let stype = match symbol.kind() {
            object::SymbolKind::Text => SymbolType::Function,
            object::SymbolKind::Section => SymbolType::Section,
            _ => SymbolType::Object,
        };
        let name = if name.is_empty() { self.sections[section].1.name.clone() } else { name };
        let place = SymbolPlace::Defined {
            section,
            offset: symbol.address(),
            size: symbol.size(),
            replaces: replaced.contains(&&*name).then(|| name.clone()),
            old_fragments: Vec::new(),
        };
        let binding = if symbol.is_global() { Binding::Global } else { Binding::Local };
        self.symbol(&name, binding, stype, place)
    }
}
