//! The order in which the dynamic loader searches modules: the link map (`<link.h>`, gABI "Dynamic Section",
//! `DT_DEBUG`).

use super::{elf, memory::Memory, modules::Module, process::Process};

const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const DT_DEBUG: u64 = 21;
/// More modules than any process has; ends a list that runs in a circle.
const MOST: usize = 1 << 16;

/// Modules in search order. Where the link map cannot be read (loader not done yet, static program), the
/// order of addresses, the program itself first.
pub(crate) fn search_order(process: &Process) -> Vec<&Module> {
    let program = program(process);
    if let Some(order) = program.and_then(|p| link_map(process, p)) {
        return order;
    }
    let own = program.map(|p| p.start);
    let rest = process.modules.iter().filter(|m| Some(m.start) != own && m.path != "[vdso]");
    program.into_iter().chain(rest).collect()
}

/// The module of the program itself.
pub(crate) fn program(process: &Process) -> Option<&Module> {
    process.modules.iter().find(|m| (m.start..m.end).contains(&process.auxv.headers))
}

fn link_map<'a>(process: &'a Process, program: &Module) -> Option<Vec<&'a Module>> {
    let memory = &process.memory;
    let debug = dynamic(program, memory).into_iter().find(|(tag, _)| *tag == DT_DEBUG)?.1;
    let mut entry = memory.cached_word(debug.checked_add(8)?).filter(|_| debug != 0)?;
    let mut order = Vec::new();
    while entry != 0 && order.len() < MOST {
        let dynamic = memory.cached_word(entry.checked_add(16)?)?;
        // The vdso and modules unmapped meanwhile have no counterpart.
        order.extend(
            process.modules.iter().find(|m| (m.start..m.end).contains(&dynamic) && m.path != "[vdso]"),
        );
        entry = memory.cached_word(entry.checked_add(24)?)?;
    }
    (!order.is_empty()).then_some(order)
}

/// Does the module call itself so (`DT_SONAME`)?
pub(crate) fn is_called(module: &Module, name: &str, memory: &Memory) -> bool {
    let dynamic = dynamic(module, memory);
    let value = |tag: u64| dynamic.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
    let Some((names, at)) = value(DT_STRTAB).zip(value(DT_SONAME)) else { return false };
    // As with all pointers of the dynamic section: relocated by glibc, left as linked by musl.
    let names = if names < module.start { names.wrapping_add(module.bias) } else { names };
    memory.string_is(names.wrapping_add(at), name)
}

/// The dynamic section of a module as (tag, value) pairs, as it is in memory.
pub(crate) fn dynamic(module: &Module, memory: &Memory) -> Vec<(u64, u64)> {
    let Some(segment) = module.of_kind(elf::DYNAMIC).next() else { return Vec::new() };
    let Ok(len) = usize::try_from(segment.size.min(1 << 16)) else { return Vec::new() };
    let bytes = memory.cached(module.bias.wrapping_add(segment.address), len).unwrap_or_default();
    let pair = |b: &[u8]| Some((elf::u64_at(b, 0)?, elf::u64_at(b, 8)?));
    bytes.chunks_exact(16).filter_map(pair).take_while(|(tag, _)| *tag != 0).collect()
}
