//! The target ELF: its GOT slots, PLT entries, imports and TLS, all read from what also a stripped file has.

use std::collections::{BTreeMap, HashMap};

use differ::arch::{Computes, Tls};
use patchfile::identity;
use patchfile::image::{ImportKind, Target};

use crate::arch::{self, Machine};
use crate::chunks::TlsSlots;
use crate::elf::{ET_EXEC, ElfFile, PT_TLS, SHF_ALLOC, SHT_RELA, STB_WEAK, STT_OBJECT, STT_TLS, Segment};
use crate::error::LinkError;

/// Slots that the dynamic loader fills in for one symbol: link-time addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slots {
    /// Holds the symbol's address as soon as the module is loaded.
    pub(crate) address: Option<u64>,
    /// Holds where a call goes; before the first call that may be the lazy binder.
    pub(crate) jump: Option<u64>,
    pub(crate) tls: TlsSlots,
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
    pub(crate) machine: &'static dyn Machine,
    pub(crate) elf: ElfFile<'a>,
    pub(crate) executable: bool,
    pub(crate) imports: HashMap<String, Imported>,
    slots: HashMap<String, Slots>,
    /// TLS slots of own variables without a dynamic symbol, by offset in the TLS segment.
    own_tls: HashMap<u64, Slots>,
    /// Slot of an indirect function, by its resolver's address.
    indirect: HashMap<u64, u64>,
    /// PLT entry by the slot it jumps through.
    plt: HashMap<u64, u64>,
    /// Words of data with the addresses of what the target takes from other modules, and the names of those.
    held: BTreeMap<u64, String>,
    /// Word that holds the target's own TLS module id.
    pub(crate) own_module: Option<u64>,
}

impl<'a> TargetElf<'a> {
    pub(crate) fn new(elf: ElfFile<'a>) -> Result<Self, LinkError> {
        let machine = arch::of_file(&elf, "target ELF")?;
        let mut plt = HashMap::new();
        for (entry, slot) in machine.plt_entries(&elf) {
            plt.entry(slot).or_insert(entry);
        }
        let mut target = Self {
            machine,
            executable: elf.is_executable(),
            imports: HashMap::new(),
            slots: HashMap::new(),
            own_tls: HashMap::new(),
            indirect: HashMap::new(),
            plt,
            held: BTreeMap::new(),
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
            let Some(facts) = self.machine.relocation(rela.kind) else { continue };
            let slots = match name {
                Some(symbol) => self.slots.entry(symbol.name.clone()).or_default(),
                None => match facts.computes {
                    Computes::Resolver => {
                        self.indirect.insert(rela.addend.cast_unsigned(), rela.offset);
                        continue;
                    }
                    Computes::Tls(Tls::Module) => {
                        self.own_module = Some(rela.offset);
                        continue;
                    }
                    Computes::Tls(Tls::ThreadOffset | Tls::Descriptor) => {
                        self.own_tls.entry(rela.addend.cast_unsigned()).or_default()
                    }
                    _ => continue,
                },
            };
            let of_whole = rela.addend == 0 || name.is_none();
            match facts.computes {
                Computes::Address if facts.width == 8 => {
                    self.held.extend(name.map(|symbol| (rela.offset, symbol.name.clone())));
                }
                Computes::Lookup => slots.address = Some(rela.offset),
                Computes::LookupForCalls => {
                    slots.jump = Some(rela.offset);
                    if bound && slots.address.is_none() {
                        slots.address = Some(rela.offset);
                    }
                }
                Computes::Tls(Tls::ThreadOffset) if of_whole => slots.tls.thread_offset = Some(rela.offset),
                Computes::Tls(Tls::Module) => slots.tls.pair = Some(rela.offset),
                Computes::Tls(Tls::Descriptor) if of_whole => slots.tls.descriptor = Some(rela.offset),
                _ => {}
            }
        }
    }

    pub(crate) fn slots(&self, name: &str) -> Slots {
        self.slots.get(name).copied().unwrap_or_default()
    }

    /// Names of what the data in `from..to` holds the addresses of.
    pub(crate) fn held(&self, from: u64, to: u64) -> impl Iterator<Item = &str> {
        self.held.range(from..to.max(from)).map(|(_, name)| name.as_str())
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

    /// The TLS segment.
    pub(crate) fn tls(&self) -> Option<&Segment> {
        self.elf.segments.iter().find(|s| s.kind == PT_TLS)
    }

    /// Identity and shape for the image.
    pub(crate) fn identity(&self, name: &str) -> Target {
        let code = self.elf.segments.iter().filter(|s| identity::is_code(s.kind, s.flags));
        Target {
            name: name.to_owned(),
            build_id: self.elf.build_id(),
            code: identity::code_digest(self.elf.data, code.map(|s| (s.offset, s.file_size))),
            fixed: self.fixed(),
        }
    }
}
