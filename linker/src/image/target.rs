//! The target ELF: its GOT slots, PLT entries, imports and TLS, all read from what also a stripped file has.

use std::collections::HashMap;

use patchfile::image::{ImportKind, Target};
use patchfile::{BuildId, Digest};

use crate::arch::x86_64::reloc_types as r;
use crate::elf::{
    ET_EXEC, Elf, PF_X, PT_LOAD, PT_TLS, SHF_ALLOC, SHF_EXECINSTR, SHT_RELA, STB_WEAK, STT_OBJECT, STT_TLS,
};
use crate::error::LinkError;

/// Slots that the dynamic loader fills in for one symbol: link-time addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slots {
    /// Holds the symbol's address as soon as the module is loaded.
    pub(crate) address: Option<u64>,
    /// Holds where a call goes; before the first call that may be the lazy binder.
    pub(crate) jump: Option<u64>,
    /// Offset from the thread pointer.
    pub(crate) tpoff: Option<u64>,
    /// Module id and offset.
    pub(crate) pair: Option<u64>,
    /// TLS descriptor.
    pub(crate) descriptor: Option<u64>,
}

/// A symbol the target takes from another module.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    pub(crate) version: Option<String>,
    pub(crate) weak: bool,
    pub(crate) kind: ImportKind,
    pub(crate) tls: bool,
    /// Address of the PLT entry that stands for the function in this program, where its address is taken.
    pub(crate) canonical: Option<u64>,
}

/// The target, read.
#[derive(Debug)]
pub(crate) struct TargetElf<'a> {
    pub(crate) elf: Elf<'a>,
    pub(crate) executable: bool,
    pub(crate) imports: HashMap<String, Imported>,
    slots: HashMap<String, Slots>,
    /// TLS slots of own variables without a dynamic symbol, by offset in the TLS segment.
    own_tls: HashMap<u64, Slots>,
    /// Slot of an indirect function, by its resolver's address.
    indirect: HashMap<u64, u64>,
    /// PLT entry by the slot it jumps through.
    plt: HashMap<u64, u64>,
    /// Word that holds the target's own TLS module id.
    pub(crate) own_module: Option<u64>,
}

impl<'a> TargetElf<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, LinkError> {
        let elf = Elf::parse(data, "target ELF")?;
        let mut target = Self {
            executable: elf.is_executable(),
            imports: HashMap::new(),
            slots: HashMap::new(),
            own_tls: HashMap::new(),
            indirect: HashMap::new(),
            plt: plt_entries(&elf),
            own_module: None,
            elf,
        };
        target.read_imports();
        target.read_slots();
        Ok(target)
    }

    fn read_imports(&mut self) {
        for symbol in self.elf.dynamic_symbols.iter().filter(|s| !s.is_defined() && !s.name.is_empty()) {
            let kind = if symbol.kind == STT_OBJECT { ImportKind::Object } else { ImportKind::Function };
            let import = Imported {
                version: symbol.version.clone(),
                weak: symbol.binding == STB_WEAK,
                kind,
                tls: symbol.kind == STT_TLS,
                canonical: (symbol.value != 0 && self.executable).then_some(symbol.value),
            };
            self.imports.insert(symbol.name.clone(), import);
        }
    }

    fn read_slots(&mut self) {
        const DT_BIND_NOW: u64 = 24;
        const DT_FLAGS: u64 = 30;
        const DT_FLAGS_1: u64 = 0x6fff_fffb;
        let flag = |tag, bit| self.elf.dynamic_value(tag).is_some_and(|v| v & bit != 0);
        let bound = self.elf.dynamic_value(DT_BIND_NOW).is_some() || flag(DT_FLAGS, 8) || flag(DT_FLAGS_1, 1);
        let tables = self.elf.sections.iter().filter(|s| s.kind == SHT_RELA && s.flags & SHF_ALLOC != 0);
        let relocations: Vec<_> = tables.flat_map(|s| self.elf.relocations(s)).collect();
        for rela in relocations {
            let name = self.elf.dynamic_symbols.get(rela.symbol).filter(|_| rela.symbol != 0);
            let slots = match name {
                Some(symbol) => self.slots.entry(symbol.name.clone()).or_default(),
                None => match rela.kind {
                    r::IRELATIVE => {
                        self.indirect.insert(rela.addend.cast_unsigned(), rela.offset);
                        continue;
                    }
                    r::DTPMOD64 => {
                        self.own_module = Some(rela.offset);
                        continue;
                    }
                    r::TPOFF64 | r::TLSDESC => self.own_tls.entry(rela.addend.cast_unsigned()).or_default(),
                    _ => continue,
                },
            };
            match rela.kind {
                r::GLOB_DAT => slots.address = Some(rela.offset),
                r::JUMP_SLOT => {
                    slots.jump = Some(rela.offset);
                    if bound && slots.address.is_none() {
                        slots.address = Some(rela.offset);
                    }
                }
                r::TPOFF64 if rela.addend == 0 || name.is_none() => slots.tpoff = Some(rela.offset),
                r::DTPMOD64 => slots.pair = Some(rela.offset),
                r::TLSDESC if rela.addend == 0 || name.is_none() => slots.descriptor = Some(rela.offset),
                _ => {}
            }
        }
    }

    pub(crate) fn slots(&self, name: &str) -> Slots {
        self.slots.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn own_tls_slots(&self, offset: u64) -> Slots {
        self.own_tls.get(&offset).copied().unwrap_or_default()
    }

    /// PLT entry that jumps through this slot.
    pub(crate) fn plt_entry(&self, slot: u64) -> Option<u64> {
        self.plt.get(&slot).copied()
    }

    /// Slot of the indirect function whose resolver is at this address.
    pub(crate) fn indirect_slot(&self, resolver: u64) -> Option<u64> {
        self.indirect.get(&resolver).copied()
    }

    /// May another module's definition of this name be used instead of the target's?
    pub(crate) fn exports(&self, name: &str) -> Option<&crate::elf::Symbol> {
        self.elf.dynamic_symbols.iter().find(|s| s.is_defined() && s.name == name)
    }

    /// `-Bsymbolic`: own definitions first.
    pub(crate) fn symbolic(&self) -> bool {
        const DT_SYMBOLIC: u64 = 16;
        const DT_FLAGS: u64 = 30;
        self.elf.dynamic_value(DT_SYMBOLIC).is_some()
            || self.elf.dynamic_value(DT_FLAGS).is_some_and(|v| v & 2 != 0)
    }

    pub(crate) fn fixed(&self) -> bool {
        self.elf.kind == ET_EXEC
    }

    /// Offset from the thread pointer of the executable's own variable at `offset` of its TLS segment (variant II of the TLS ABI).
    pub(crate) fn tp_offset(&self, offset: u64) -> Option<i64> {
        let tls = self.elf.segments.iter().find(|s| s.kind == PT_TLS)?;
        let size = tls.size.checked_next_multiple_of(tls.align.max(1))?;
        offset.cast_signed().checked_sub(size.cast_signed())
    }

    /// Identity and shape for the image.
    pub(crate) fn identity(&self, name: &str) -> Target {
        let code = self.elf.segments.iter().filter(|s| s.kind == PT_LOAD && s.flags & PF_X != 0).map(|s| {
            let range = usize::try_from(s.offset).ok().zip(usize::try_from(s.file_size).ok());
            range.and_then(|(at, len)| self.elf.data.get(at..at.checked_add(len)?)).unwrap_or_default()
        });
        Target {
            name: name.to_owned(),
            build_id: self.elf.build_id().and_then(|b| BuildId::new(b.to_vec())),
            // Segment after segment without lengths between them, as the applier computes it.
            code: Digest::of(&code.collect::<Vec<_>>().concat()),
            fixed: self.fixed(),
        }
    }
}

/// Finds `jmp *slot(%rip)` at the places where PLT entries begin, with an `endbr64` and a `bnd` prefix or without.
fn plt_entries(elf: &Elf<'_>) -> HashMap<u64, u64> {
    let mut entries = HashMap::new();
    let code = |s: &&crate::elf::Section| {
        s.flags & SHF_EXECINSTR != 0 && (s.name.starts_with(".plt") || s.name == ".iplt")
    };
    for section in elf.sections.iter().filter(code) {
        let content = elf.content(section);
        for (index, _) in content.chunks(8).enumerate() {
            let start = index * 8;
            let mut at = start;
            let has = |at: usize, bytes: &[u8]| content.get(at..at + bytes.len()) == Some(bytes);
            if has(at, &[0xf3, 0x0f, 0x1e, 0xfa]) {
                at += 4;
            }
            if has(at, &[0xf2]) {
                at += 1;
            }
            if !has(at, &[0xff, 0x25]) {
                continue;
            }
            let field = content.get(at + 2..at + 6).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes);
            let Some(displacement) = field else { continue };
            let next = section.address + at as u64 + 6;
            entries
                .entry(next.wrapping_add_signed(displacement.into()))
                .or_insert(section.address + start as u64);
        }
    }
    entries
}
