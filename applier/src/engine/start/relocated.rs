//! Has the dynamic loader finished with a module?

use crate::{
    arch::RELATIVE,
    engine::target::{elf, linkmap, maps, modules::Module, process::Process},
    sys::page,
};

/// `PT_GNU_RELRO`: what is read-only once it is relocated.
const RELRO: u32 = 0x6474_e552;
/// gABI, "Dynamic Section"; `DT_RELR` by the generic ABI since 2022.
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELR: u64 = 36;

/// Is `module` relocated? By what is protected afterwards; where nothing is, by the first word that depends
/// on the address at which it was mapped; where there is none either, it needs no relocation that would
/// matter.
pub(super) fn is(process: &Process, module: &Module) -> bool {
    protected(process, module).or_else(|| first_word(process, module)).unwrap_or(true)
}

/// Are all modules?
pub(super) fn all(process: &Process, but: u64) -> bool {
    let modules = process.modules.iter().filter(|m| m.path != "[vdso]" && m.start != but);
    modules.into_iter().all(|m| is(process, m))
}

fn protected(process: &Process, module: &Module) -> Option<bool> {
    let segment = module.of_kind(RELRO).next()?;
    let start = page::floor(module.bias.wrapping_add(segment.address));
    let end = page::floor(module.bias.wrapping_add(segment.address).wrapping_add(segment.size));
    (start < end).then(|| maps::at(&process.maps, start).is_some_and(|m| !m.write))
}

fn first_word(process: &Process, module: &Module) -> Option<bool> {
    if module.bias == 0 {
        return None;
    }
    let dynamic = linkmap::dynamic(module, &process.memory);
    let value = |tag: u64| dynamic.iter().find(|(t, _)| *t == tag).map(|(_, v)| *v);
    // glibc relocates these pointers in place, musl does not.
    let at = |v: u64| if v < module.start { v.wrapping_add(module.bias) } else { v };
    if let (Some(table), Some(size)) = (value(DT_RELA), value(DT_RELASZ)) {
        let first = process.memory.read(at(table), 24).ok().filter(|_| size >= 24)?;
        let (offset, info, addend) =
            (elf::u64_at(&first, 0)?, elf::u64_at(&first, 8)?, elf::u64_at(&first, 16)?);
        if info == RELATIVE {
            let found = process.memory.word(module.bias.wrapping_add(offset)).ok()?;
            return Some(found == module.bias.wrapping_add(addend));
        }
    }
    // In this form the file holds link-time addresses, all of them smaller than where anything is mapped.
    let first = process.memory.word(at(value(DT_RELR)?)).ok()?;
    Some(process.memory.word(module.bias.wrapping_add(first)).ok()? >= module.start)
}
