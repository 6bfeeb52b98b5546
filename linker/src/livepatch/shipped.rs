//! A shipped object, as the comparison sees it: the kernel, or one of its modules.

use super::image::KernelImage;
use super::module_file::KernelModuleFile;
use super::original::Field;
use super::symvers::KernelObject;
use super::unit::KernelContext;
use crate::arch::kernel as machine;
use crate::elf::{NO_SYMBOL, PlainPlace, PlainSection, SHF_EXECINSTR, STB_LOCAL, STT_FILE, STT_SECTION};
use crate::error::{LinkError, refusal};

/// The kernel with its addresses; or a module, whose sections get addresses here, far from each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shipped<'a> {
    Kernel(&'a KernelImage<'a>),
    Module(&'a KernelModuleFile),
}

/// Sections of a module are this far from each other.
const SECTION: u64 = 1 << 42;
/// What a module does not define is from here on, by the number of its symbol.
const ELSEWHERE: u64 = 1 << 63;
/// Distance between two symbols that are elsewhere.
const APART: u64 = 1 << 40;

impl<'a> Shipped<'a> {
    pub(super) fn of(object: &KernelObject, context: &KernelContext<'a>) -> Result<Self, LinkError> {
        let KernelObject::Module(name) = object else { return Ok(Self::Kernel(context.image)) };
        let module = context.modules.iter().find(|module| module.name == *name);
        module.map(Self::Module).ok_or_else(|| {
            LinkError::Refused(vec![refusal(
                "a shipped module is not there",
                format!("{name}.ko"),
                "a changed unit is linked into it, so the patch has to be held against it",
                "give the module, as it is shipped, among the targets",
            )])
        })
    }

    /// Where symbols of a name are: addresses in the object's own order.
    pub(super) fn named(self, name: &str) -> Vec<u64> {
        match self {
            Self::Kernel(image) => image.named(name).map(|s| s.address).collect(),
            Self::Module(module) => {
                let symbols = module.object.symbols.iter().enumerate();
                let named = symbols.filter(|(_, s)| s.name == name && s.kind != STT_FILE);
                named.filter_map(|(i, _)| address_of_symbol(module, i)).collect()
            }
        }
    }

    /// Is code at this address?
    pub(super) fn is_code(self, address: u64) -> bool {
        match self {
            Self::Kernel(image) => image.is_code(address),
            Self::Module(module) => section_at(module, address).is_some_and(|(s, _)| s.has(SHF_EXECINSTR)),
        }
    }

    /// Is this in what is freed once the kernel or the module has started?
    pub(super) fn is_of_start(self, address: u64) -> bool {
        match self {
            Self::Kernel(image) => image.is_of_start(address),
            Self::Module(module) => {
                section_at(module, address).is_some_and(|(s, _)| KernelModuleFile::is_of_start(s))
            }
        }
    }

    /// Has the function at this address lost its landing pad for indirect calls?
    pub(super) fn is_sealed(self, address: u64) -> bool {
        match self {
            Self::Kernel(image) => image.is_sealed(address),
            Self::Module(module) => listed(module, ".ibt_endbr_seal").any(|a| a == address),
        }
    }

    /// Can a live patch redirect the function at this address?
    pub(super) fn is_traceable(self, address: u64) -> bool {
        match self {
            Self::Kernel(image) => image.is_traceable(address),
            Self::Module(module) => listed(module, "__mcount_loc")
                .any(|a| a == address || a == address.wrapping_add(machine::LANDING_PAD)),
        }
    }

    /// The address of the symbol of this name that other units can refer to.
    pub(super) fn global(self, name: &str) -> Option<u64> {
        match self {
            Self::Kernel(image) => image.named(name).find(|s| s.is_global()).map(|s| s.address),
            Self::Module(module) => {
                let mut globals = module.named(name).filter(|(_, s)| s.binding != STB_LOCAL);
                globals.next().and_then(|(symbol, _)| address_of_symbol(module, symbol))
            }
        }
    }

    pub(super) fn bytes(self, address: u64, length: u64) -> Option<&'a [u8]> {
        self.bytes_from(address)?.get(..usize::try_from(length).ok()?)
    }

    /// The string at an address.
    pub(super) fn string(self, address: u64) -> Option<&'a [u8]> {
        let bytes = self.bytes_from(address)?;
        bytes.get(..memchr::memchr(0, bytes)?)
    }

    fn bytes_from(self, address: u64) -> Option<&'a [u8]> {
        match self {
            Self::Kernel(image) => image.bytes_from(address),
            Self::Module(module) => {
                let (section, offset) = section_at(module, address)?;
                section.data.get(usize::try_from(offset).ok()?..)
            }
        }
    }

    /// Where the field at an address leads.
    pub(super) fn leads_to(self, address: u64, field: &Field) -> Option<u64> {
        if let Self::Module(module) = self
            && let Some(target) = self.relocated(module, address, field)
        {
            return target;
        }
        let bytes = self.bytes(address, field.width)?;
        let value = match (bytes, field.signed) {
            (&[a, b, c, d], true) => i64::from(i32::from_le_bytes([a, b, c, d])).cast_unsigned(),
            (&[a, b, c, d], false) => u32::from_le_bytes([a, b, c, d]).into(),
            (bytes, _) => u64::from_le_bytes(bytes.try_into().ok()?),
        };
        Some(match field.relative {
            Some(end) => value.wrapping_add(address).wrapping_add(end),
            // An address that nothing relocates leads nowhere in a module.
            None if matches!(self, Self::Module(_)) => return None,
            None => value,
        })
    }

    fn relocated(self, module: &KernelModuleFile, address: u64, field: &Field) -> Option<Option<u64>> {
        let (section, offset) = section_at(module, address)?;
        let at = section.relocations.binary_search_by_key(&offset, |r| r.offset).ok()?;
        let rela = section.relocations[at];
        let base = address_of_symbol(module, rela.symbol);
        let relative = machine::form(rela.kind).map(|form| form.relative);
        let same_way = relative == Some(field.relative.is_some());
        let end = field.relative.unwrap_or(0);
        Some(base.filter(|_| same_way).map(|base| base.wrapping_add_signed(rela.addend).wrapping_add(end)))
    }

    /// Offsets of the fields that are still to be filled in, from `address` on; the kernel has none.
    pub(super) fn open_fields(self, address: u64, length: u64) -> Vec<u64> {
        let Self::Module(module) = self else { return Vec::new() };
        let Some((section, offset)) = section_at(module, address) else { return Vec::new() };
        let first = section.relocations.partition_point(|r| r.offset < offset);
        let rest = section
            .relocations
            .get(first..)
            .unwrap_or_default()
            .iter()
            .filter(|r| r.kind != machine::NOTHING);
        rest.map(|r| r.offset - offset).take_while(|offset| *offset < length).collect()
    }

    /// Names at an address, for messages.
    pub(super) fn names(self, address: u64) -> String {
        let names: Vec<String> = match self {
            Self::Kernel(image) => image.at(address).map(|s| s.name.clone()).collect(),
            Self::Module(module) => (0..module.object.symbols.len())
                .filter(|s| address_of_symbol(module, *s) == Some(address))
                .map(|s| module.object.symbols[s].name.clone())
                .filter(|name| !name.is_empty())
                .collect(),
        };
        if names.is_empty() { format!("{address:#x}") } else { format!("`{}`", names.join("`, `")) }
    }

    /// Of a local symbol at an address, the source file that a module records for it.
    pub(super) fn file(self, name: &str, address: u64) -> Option<&'a str> {
        let Self::Module(module) = self else { return None };
        let symbols = &module.object.symbols;
        let at = (0..symbols.len())
            .find(|s| symbols[*s].name == name && address_of_symbol(module, *s) == Some(address))?;
        symbols[..at].iter().rev().find(|s| s.kind == STT_FILE).map(|s| s.name.as_str())
    }
}

fn address_of_symbol(module: &KernelModuleFile, symbol: usize) -> Option<u64> {
    let index = symbol;
    let symbol = module.object.symbols.get(index).filter(|_| index != NO_SYMBOL)?;
    match symbol.place {
        PlainPlace::Section(section) => {
            let value = if symbol.kind == STT_SECTION { 0 } else { symbol.value };
            Some((section as u64 + 1).wrapping_mul(SECTION).wrapping_add(value))
        }
        PlainPlace::Undefined => Some(ELSEWHERE.wrapping_add((index as u64).wrapping_mul(APART))),
        PlainPlace::Reserved(_) => None,
    }
}

fn section_at(module: &KernelModuleFile, address: u64) -> Option<(&PlainSection, u64)> {
    let index = usize::try_from((address / SECTION).checked_sub(1)?).ok()?;
    let section = module.object.sections.get(index)?;
    Some((section, address % SECTION)).filter(|(section, offset)| *offset <= section.size)
}

/// What the entries of a list of a module refer to.
fn listed<'m>(module: &'m KernelModuleFile, section: &'m str) -> impl Iterator<Item = u64> + 'm {
    let lists = module.object.sections.iter().filter(move |s| s.name == section);
    lists
        .flat_map(|list| &list.relocations)
        .filter_map(|rela| Some(address_of_symbol(module, rela.symbol)?.wrapping_add_signed(rela.addend)))
}

/// The symbol of a module that is meant by a name and an address.
pub(super) fn symbol_at(module: &KernelModuleFile, name: &str, address: u64) -> Option<usize> {
    module.named(name).map(|(i, _)| i).find(|i| address_of_symbol(module, *i) == Some(address))
}
