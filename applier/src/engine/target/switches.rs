//! Can a process have stacks that no thread is on: coroutines, fibers, contexts, suspended until somebody
//! goes back to them?
//!
//! Code that goes to another stack loads the stack pointer with an address from somewhere else. The C library
//! does that for programs that import `swapcontext` or the like, or go from a handler's stack with `longjmp`;
//! libraries and programs that do it themselves have

use super::{cache, elf, identity, linkmap, modules::Module, process::Process};
use crate::arch::stack_switch::{self, LONGEST, Source};
use std::{fs::File, os::unix::fs::FileExt};

/// Which stacks a process can have that are not its threads' own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stacks {
    /// None.
    #[default]
    Own,
    /// Stacks whose registers the C library has saved (`swapcontext`, `setjmp`).
    Saved,
    /// Any.
    Any,
}

/// Which a process can have.
pub(crate) fn stacks(process: &Process) -> Stacks {
    let own = |m: &&Module| !m.is_c_library() && m.start != process.auxv.loader && m.path != "[vdso]";
    process.modules.iter().filter(own).map(|m| of_module(process, m)).max().unwrap_or_default()
}

fn of_module(process: &Process, module: &Module) -> Stacks {
    cache::stacks(module, &process.memory, || {
        let file = identity::open_file(module, process.view, &process.maps)
            .filter(|file| identity::file_agrees(file, module, &process.memory));
        let names = names(process, module, file.as_ref()).unwrap_or_default();
        (switches(process, module, file.as_ref()).max(by_names(&names)), file.is_some())
    })
}

const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const LARGEST: u64 = 64 << 20;

/// Names of symbols, each with a zero behind it.
fn names(process: &Process, module: &Module, file: Option<&File>) -> Option<Vec<u8>> {
    if let Some(names) = file.and_then(|f| identity::section(f, ".dynstr")?.read(f)) {
        return Some(names);
    }
    let dynamic = linkmap::dynamic(module, &process.memory);
    let value = |tag: u64| dynamic.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
    let (at, size) = (value(DT_STRTAB)?, value(DT_STRSZ).filter(|n| *n < LARGEST)?);
    let at = if at < module.start { at.wrapping_add(module.bias) } else { at };
    process.memory.read(at, usize::try_from(size).ok()?).ok()
}

/// Judges by the functions that the module imports. (Its code shows what it defines itself.)
fn by_names(strings: &[u8]) -> Stacks {
    let (mut handler, mut jump) = (false, false);
    for name in strings.split(|b| *b == 0) {
        match name {
            b"swapcontext" | b"setcontext" | b"makecontext" => return Stacks::Saved,
            b"sigaltstack" => handler = true,
            b"longjmp" | b"_longjmp" | b"siglongjmp" | b"__longjmp_chk" => jump = true,
            _ => {}
        }
    }
    if handler && jump { Stacks::Saved } else { Stacks::Own }
}

/// Bytes of code looked at in one go, and how far two pieces overlap.
const PIECE: u64 = 1 << 20;

/// Is there an instruction that loads the stack pointer from elsewhere?
fn switches(process: &Process, module: &Module, file: Option<&File>) -> Stacks {
    let is_static = process.auxv.loader == 0;
    let mut found = Stacks::Own;
    let code = module.of_kind(elf::LOAD).filter(|s| s.flags & elf::EXECUTE != 0);
    for segment in code {
        let mut done = 0;
        while done < segment.file_size {
            let len = usize::try_from(PIECE.min(segment.file_size - done)).unwrap_or(0);
            let mut bytes = vec![0; len];
            let read = match file {
                Some(file) => file.read_exact_at(&mut bytes, segment.offset + done).is_ok(),
                None => process
                    .memory
                    .read_into(module.bias.wrapping_add(segment.address + done), &mut bytes)
                    .is_ok(),
            };
            if read {
                found = found.max(in_code(&bytes, is_static));
            }
            done += PIECE - LONGEST as u64;
        }
    }
    found
}

/// What the instructions in these bytes mean. In a static program, what the C library has is among its code.
fn in_code(bytes: &[u8], is_static: bool) -> Stacks {
    let kind = |source| match source {
        Source::Context if is_static => Stacks::Saved,
        Source::RuntimeProfile if is_static => Stacks::Own,
        _ => Stacks::Any,
    };
    bytes.windows(LONGEST).filter_map(stack_switch::source).map(kind).max().unwrap_or_default()
}
