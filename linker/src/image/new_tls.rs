//! Thread-local variables that the patch adds to one ELF file: where each is in a block that every thread
//! gets, and which code may ask for the address of that block in place of the target's.
//!
//! Code of the local-dynamic model asks once for the address of all variables of its module and adds the
//! distance of each. There is no one address for both the target's variables and new ones, so all that one
//! such call may serve has to be of one kind.

use std::collections::{BTreeSet, HashMap};

use differ::arch::{Computes, Tls as model};
use differ::{
    Binding, PatchObject, PatchSymbol, Refusal, Relocation, SectionKind, SymbolPlace, SymbolType, Warning,
};
use patchfile::image::ImportKind;

use super::inputs::{Inputs, Unit};
use crate::arch::{Block, CLibrary, Control, Machine, TlsBase};
use crate::chunks::{Chunk, Chunks, Place, Resolved, Role, Tls};
use crate::error::refusal;

/// More than any compiler's template, and far from the limits of what the getter's fields hold.
const LARGEST: u64 = 1 << 24;
/// Alignment that is worth the memory in each thread, in bytes.
const WIDEST: u64 = 1 << 16;

/// The new variables of one ELF file.
#[derive(Debug, Default)]
pub(crate) struct NewTls {
    /// Offset in the block by unit and section.
    offsets: HashMap<(usize, usize), u64>,
    /// By piece of code, where it is not the target's.
    bases: HashMap<usize, TlsBase>,
    /// The function that returns the address of one.
    pub(crate) getter: Option<Place>,
}

impl NewTls {
    /// Gives each new variable its place and makes the getter.
    pub(crate) fn plan(
        inputs: &Inputs<'_, '_>,
        chunks: &mut Chunks,
        refused: &mut Vec<Refusal>,
        warnings: &mut Vec<Warning>,
    ) -> Self {
        let names = names(inputs);
        let (Some(first), all) = (names.first(), names.join(", ")) else { return Self::default() };
        let mut new = Self::default();
        let Some(block) = new.lay_out(inputs.units) else {
            let why =
                format!("it is larger than {LARGEST} bytes, or wants an alignment of more than {WIDEST}");
            refused.push(refusal(
                "new thread-local variable",
                all,
                why,
                "make it a pointer, and allocate what it leads to",
            ));
            return new;
        };
        for (u, unit) in inputs.units.iter().enumerate() {
            new.bases.extend(
                bases(inputs, u)
                    .into_iter()
                    .filter_map(|(section, base)| unit.chunks.get(section).map(|chunk| (*chunk, base))),
            );
        }
        match getter(&block, first, inputs, chunks) {
            Ok(getter) => new.getter = Some(getter),
            Err(refusal) => refused.push(refusal),
        }
        warnings.push(Warning {
            what: "new thread-local variable".to_owned(),
            place: all,
            why:
                "each thread gets room for it by `calloc` at the first use: that must not happen first in a \
                  signal handler, nor inside of an allocator; at the end of a thread it is freed among the \
                  destructors \
                  of thread-specific data"
                    .to_owned(),
        });
        new
    }

    fn lay_out(&mut self, units: &[Unit<'_>]) -> Option<Block> {
        let (mut size, mut widest) = (0u64, 1);
        let mut templates = Vec::new();
        for (u, unit) in units.iter().enumerate() {
            for (index, section) in unit.patch.sections.iter().enumerate() {
                if section.kind != SectionKind::Tls {
                    continue;
                }
                let align = section.align.max(1);
                if !align.is_power_of_two() || align > WIDEST || section.size > LARGEST {
                    return None;
                }
                let offset = size.next_multiple_of(align);
                size = offset + section.size;
                widest = widest.max(align);
                self.offsets.insert((u, index), offset);
                if !section.data.is_empty() {
                    let length = u32::try_from(section.data.len()).ok()?;
                    templates.push((*unit.chunks.get(index)?, u32::try_from(offset).ok()?, length));
                }
            }
        }
        let size = u32::try_from(size.max(1)).ok().filter(|s| u64::from(*s) <= LARGEST)?;
        Some(Block { size, align: u32::try_from(widest).ok()?, templates })
    }

    /// Offset in the block of a section.
    pub(crate) fn offset(&self, unit: usize, section: usize) -> Option<u64> {
        self.offsets.get(&(unit, section)).copied()
    }

    /// What a symbol of a new variable stands for.
    pub(crate) fn resolved(
        &self,
        unit: usize,
        section: usize,
        offset: u64,
        symbol: &PatchSymbol,
    ) -> Result<Resolved, Refusal> {
        if matches!(symbol.binding, Binding::Weak | Binding::Unique) {
            return Err(refusal(
                "new thread-local variable",
                &symbol.name,
                "each module that contains it may bring a copy, and the dynamic loader would choose one for \
                 all",
                "define it in one source file, not inline in a header",
            ));
        }
        let Some(start) = self.offset(unit, section) else {
            return Err(refusal(
                "damaged patch object",
                &symbol.name,
                "it is in no thread-local section",
                "report it",
            ));
        };
        let mut resolved = Resolved::at(&symbol.name, Place::Constant(0), false);
        resolved.tls = Some(Tls::New { offset: start + offset });
        Ok(resolved)
    }

    pub(crate) fn base(&self, chunk: usize) -> TlsBase {
        self.bases.get(&chunk).copied().unwrap_or_default()
    }
}

/// The new variables.
fn names(inputs: &Inputs<'_, '_>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (u, unit) in inputs.units.iter().enumerate() {
        for (i, symbol) in unit.patch.symbols.iter().enumerate() {
            let defined = matches!(symbol.place, SymbolPlace::Defined { .. });
            if defined && symbol.stype == SymbolType::Tls && inputs.is_new_tls(u, i) {
                names.insert(format!("{} ({})", symbol.name, unit.name));
            }
        }
    }
    names.into_iter().collect()
}

/// Per section of code with an offset of the local-dynamic model: whose address its call returns.
fn bases(inputs: &Inputs<'_, '_>, u: usize) -> Vec<(usize, TlsBase)> {
    let patch = inputs.units[u].patch;
    let frames = frames(inputs.machine, patch);
    // By frame: a call, offsets of the target's variables, offsets of new ones.
    let mut seen: HashMap<usize, [bool; 3]> = HashMap::new();
    for (index, section) in patch.sections.iter().enumerate().filter(|(_, s)| s.kind == SectionKind::Text) {
        for reloc in &section.relocations {
            let what = match inputs.machine.relocation(reloc.r_type).map(|t| t.computes) {
                Some(Computes::Tls(model::LocalDynamic)) => 0,
                Some(Computes::Tls(model::BlockOffset)) => {
                    1 + usize::from(inputs.is_new_tls(u, reloc.symbol))
                }
                _ => continue,
            };
            seen.entry(frames[index]).or_default()[what] = true;
        }
    }
    let base = |index: usize| match seen.get(&frames[index])? {
        [_, _, false] => None,
        [true, false, true] => Some((index, TlsBase::New)),
        _ => Some((index, TlsBase::Unclear)),
    };
    (0..patch.sections.len())
        .filter(|i| patch.sections[*i].kind == SectionKind::Text)
        .filter_map(base)
        .collect()
}

/// Per section a number that is the same for all sections which may share a stack frame: a function and what
/// it jumps to, directly or by a jump table. A call begins a new one.
fn frames(machine: &dyn Machine, patch: &PatchObject) -> Vec<usize> {
    fn root(parents: &[usize], mut at: usize) -> usize {
        while parents[at] != at {
            at = parents[at];
        }
        at
    }
    let kind = |index: usize| patch.sections[index].kind;
    let to = |reloc: &Relocation| match patch.symbols.get(reloc.symbol)?.place {
        SymbolPlace::Defined { section, .. } if section < patch.sections.len() => Some(section),
        _ => None,
    };
    // A word with the address of a function is none of a jump table.
    let is_pointer = |reloc: &Relocation| {
        let facts = machine.relocation(reloc.r_type);
        facts.is_some_and(|t| t.computes == Computes::Address && !t.is_pc_relative() && t.width == 8)
    };
    let entry = |reloc: &Relocation| !is_pointer(reloc) || reloc.addend != 0;
    let leads_to_code = |index: usize| {
        let mut relocations = patch.sections[index].relocations.iter().filter(|r| entry(r));
        relocations.any(|r| to(r).is_some_and(|to| kind(to) == SectionKind::Text))
    };
    let mut parents: Vec<usize> = (0..patch.sections.len()).collect();
    for (index, section) in patch.sections.iter().enumerate().filter(|(_, s)| s.kind != SectionKind::EhFrame)
    {
        for reloc in &section.relocations {
            let is_call = reloc.is_branch
                && section.kind == SectionKind::Text
                && machine.is_call(&section.data, reloc.offset);
            let Some(to) = to(reloc).filter(|_| !is_call) else { continue };
            let follows = match (section.kind, kind(to)) {
                (SectionKind::Text, SectionKind::Text) => true,
                (SectionKind::Text, _) => leads_to_code(to),
                (_, SectionKind::Text) => entry(reloc),
                _ => false,
            };
            if follows {
                let (a, b) = (root(&parents, index), root(&parents, to));
                parents[a] = b;
            }
        }
    }
    (0..parents.len()).map(|index| root(&parents, index)).collect()
}

/// Adds the function that returns the address of a new variable. `variable` is one of them, for messages.
///
/// # Errors
/// The target's libraries lack a function that it calls, or the target is what provides it.
fn getter(
    block: &Block,
    variable: &str,
    inputs: &Inputs<'_, '_>,
    chunks: &mut Chunks,
) -> Result<Place, Refusal> {
    let library = c_library(inputs, variable, chunks)?;
    let chunk = chunks.add(Chunk {
        kind: SectionKind::Bss,
        role: Role::Other,
        align: 8,
        data: Vec::new(),
        size: 8,
        fixups: Vec::new(),
        name: "control words of thread-local variables".to_owned(),
    });
    let control = Control { once: Place::Chunk { chunk, offset: 0 }, key: Place::Chunk { chunk, offset: 4 } };
    Ok(inputs.machine.getter(block, &library, control, chunks))
}

/// The functions of the C library that the getter of `variable` calls.
fn c_library(inputs: &Inputs<'_, '_>, variable: &str, chunks: &mut Chunks) -> Result<CLibrary, Refusal> {
    let mut slot = |name: &str| {
        let refuse = |why: String| {
            let remedy =
                "keep the value in a structure that exists per thread, or in a shadow variable (`upatch.h`)";
            refusal("new thread-local variable", variable, why, remedy)
        };
        // An allocator's own thread-local variable cannot be allocated by it. Also a static program ends
        // here.
        if !matches!(inputs.linked.global(name), Ok(None)) {
            return Err(refuse(format!("room for it is made with {name}, which the target itself defines")));
        }
        let found = inputs.libraries.find(&inputs.needed(), name);
        match found.filter(|e| e.added_by.is_none() && e.kind == ImportKind::Function && !e.tls) {
            Some(export) => {
                let place = chunks.import(name, export.version, false, ImportKind::Function);
                Ok(chunks.words(&[(place, 0)]))
            }
            None => {
                Err(refuse(format!("room for it is made with {name}, which no library of the target has")))
            }
        }
    };
    Ok(CLibrary {
        abort: slot("abort")?,
        calloc: slot("calloc")?,
        errno_location: slot("__errno_location")?,
        free: slot("free")?,
        getspecific: slot("pthread_getspecific")?,
        key_create: slot("pthread_key_create")?,
        once: slot("pthread_once")?,
        setspecific: slot("pthread_setspecific")?,
    })
}
