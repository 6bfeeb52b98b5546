//! What the kernel would stumble over when it loads a patch module. Some of it would cost more than the
//! patch: a wrong entry in the list of traced calls switches the tracer off until the next boot, and with it
//! all live patches.

use differ::Refusal;

use super::finish::PREFIX;
use super::tables::{is_part_of, is_read_early, is_table};
use super::unit::{KernelContext, Parts};
use crate::arch::kernel as machine;
use crate::elf::{
    NO_SYMBOL, PlainPlace, PlainSection, Rela, Relocatable, SHF_ALLOC, SHF_EXECINSTR, STT_SECTION,
};
use crate::error::refusal;

const TRACED: &str = "__mcount_loc";
const REPORT: &str = "this is a fault of the tools that linked it: report it";

/// Sections of data that may hold addresses of code, besides lists: what compilers make of data, what Kbuild
/// adds to each module, and what belongs to the code that registers the patch.
const DATA: [&str; 14] = [
    ".data",
    ".rodata",
    ".bss",
    ".ref.data",
    ".gnu.linkonce.this_module",
    ".init.data",
    ".init.rodata",
    ".exit.data",
    ".initcall",
    ".discard",
    ".kpatch",
    ".note",
    "__param",
    "__modver",
];

/// Every reason against a module that is about to be handed out.
pub(super) fn all(object: &Relocatable, parts: &Parts, context: &KernelContext<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !says_livepatch(object) {
        refusals.push(refusal(
            "not a live patch",
            "the patch module",
            "its .modinfo has no `livepatch=Y`, so the kernel would not resolve its references",
            REPORT,
        ));
    }
    for section in object.sections.iter().filter(|s| s.has(SHF_ALLOC)) {
        if section.name == TRACED {
            refusals.extend(traced_calls(object, section, context));
        }
        refusals.extend(late_references(section));
        refusals.extend(unknown_list(object, section));
    }
    refusals.extend(replaced_functions(object, parts));
    refusals
}

fn says_livepatch(object: &Relocatable) -> bool {
    let information = object.sections.iter().filter(|s| s.name == ".modinfo");
    information.flat_map(|s| s.data.split(|b| *b == 0)).any(|entry| entry == b"livepatch=Y")
}

/// The section and the offset that a relocation leads to.
fn place(object: &Relocatable, rela: &Rela) -> Option<(usize, u64)> {
    let symbol = object.symbols.get(rela.symbol).filter(|_| rela.symbol != NO_SYMBOL)?;
    let PlainPlace::Section(section) = symbol.place else { return None };
    let value = if symbol.kind == STT_SECTION { 0 } else { symbol.value };
    Some((section, value.checked_add_signed(rela.addend)?))
}

fn traced_calls(object: &Relocatable, list: &PlainSection, context: &KernelContext<'_>) -> Vec<Refusal> {
    let wrong = |at: u64, why: &str| {
        refusal(
            "a list of traced calls that the kernel does not take",
            format!("{TRACED}+{at:#x}"),
            why,
            REPORT,
        )
    };
    let mut refusals = Vec::new();
    if !list.size.is_multiple_of(8)
        || !list.further.is_empty()
        || list.relocations.len() as u64 != list.size / 8
    {
        refusals.push(wrong(0, "it is not one reference after the other"));
    }
    for (rela, at) in list.relocations.iter().zip((0..).step_by(8)) {
        let entry = (rela.offset == at && rela.kind == machine::ADDRESS).then(|| place(object, rela));
        let Some((section, offset)) = entry.flatten() else {
            refusals.push(wrong(at, "an entry does not lead to code of the module"));
            continue;
        };
        let Some(section) = object.sections.get(section) else { continue };
        if !is_traced_call(object, section, offset, context) {
            let what =
                if context.image.calls_tracer() { "a call of __fentry__" } else { "a nop of five bytes" };
            let why = format!("{}+{offset:#x}, which it lists, is not {what}", section.name);
            refusals.push(wrong(at, &why));
        }
    }
    refusals
}

/// Is at this place what the kernel's own list leads to?
fn is_traced_call(
    object: &Relocatable,
    section: &PlainSection,
    offset: u64,
    context: &KernelContext<'_>,
) -> bool {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let code = start.checked_add(machine::NO_CALL.len()).and_then(|end| section.data.get(start..end));
    let Some(code) = code.filter(|_| section.has(SHF_EXECINSTR)) else { return false };
    let field = section.relocations.iter().find(|r| r.offset == offset + 1);
    let Some(field) = field else { return !context.image.calls_tracer() && code == machine::NO_CALL };
    let is_call = machine::is_call(code[0])
        && [machine::DISTANCE, machine::BRANCH].contains(&field.kind)
        && field.addend == -machine::TO_NEXT.cast_signed()
        && object.symbols.get(field.symbol).is_some_and(|s| s.name == "__fentry__");
    is_call && context.image.calls_tracer()
}

/// References into modules are resolved after the kernel has read some lists.
fn late_references(section: &PlainSection) -> Vec<Refusal> {
    let kernel = format!("{PREFIX}vmlinux.");
    let late = section.further.iter().filter(|f| f.name.starts_with(PREFIX) && !f.name.starts_with(&kernel));
    let refused = late.filter(|_| is_read_early(&section.name)).map(|further| {
        refusal(
            "a list refers into a module",
            format!("{} ({})", section.name, further.name),
            "the kernel reads the list before it resolves references into modules",
            "leave out the use of the module's static key, static call or other that is listed",
        )
    });
    refused.collect()
}

fn unknown_list(object: &Relocatable, section: &PlainSection) -> Option<Refusal> {
    let known = is_table(&section.name)
        || section.has(SHF_EXECINSTR)
        || DATA.iter().any(|base| is_part_of(&section.name, base) || section.name.starts_with(".initcall"));
    let code = |rela: &&Rela| {
        let target = place(object, rela).and_then(|(section, _)| object.sections.get(section));
        target.is_some_and(|target| target.has(SHF_EXECINSTR))
    };
    let rela = section.relocations.iter().find(code).filter(|_| !known)?;
    Some(refusal(
        "a section of unknown meaning refers to code",
        format!("{}+{:#x}", section.name, rela.offset),
        "the kernel may change the code by it, or rely on it",
        "report it with the kernel's version; leave out the change that brings it",
    ))
}

fn replaced_functions(object: &Relocatable, parts: &Parts) -> Vec<Refusal> {
    let is_there = |name: &str| {
        object.symbols.iter().any(|s| {
            let PlainPlace::Section(section) = s.place else { return false };
            let section = object.sections.get(section);
            s.name == name
                && section.is_some_and(|s| {
                    s.has(SHF_EXECINSTR) && !s.name.starts_with(".init") && !s.name.starts_with(".exit")
                })
        })
    };
    let missing = parts.functions.iter().filter(|f| !is_there(&f.new_symbol));
    let refused = missing.map(|f| {
        let why = "the module has no code for it that stays";
        refusal("a new function is missing", format!("{} ({})", f.new_symbol, f.object.name()), why, REPORT)
    });
    refused.collect()
}
