//! Thread-local variables that the patch adds to one ELF file: where each is in a block that every thread gets, and which code may ask for
//! the address of that block in place of the target's.
//!
//! Code of the local-dynamic model asks once for the address of all variables of its module and adds the distance of each. There is no one
//! address for both the target's variables and new ones, so all that one such call may serve has to be of one kind.

use std::collections::{BTreeSet, HashMap};

use differ::{
    Binding, PatchObject, PatchSymbol, Refusal, Relocation, SectionKind, SymbolPlace, SymbolType, Warning,
};

use crate::arch::x86_64::reloc_types as r;
use crate::chunks::chunk::Place;
use crate::chunks::pool::Pieces;
use crate::error::refusal;
use crate::image::getter::{self, Block};
use crate::image::resolve::{Resolved, Resolver, Tls, Unit};

/// More than any compiler's template, and far from the limits of what the getter's fields hold.
const LARGEST: u64 = 1 << 24;
/// Alignment that is worth the memory in each thread, in bytes.
const WIDEST: u64 = 1 << 16;

/// Whose address a call of the local-dynamic model has to return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Base {
    /// The target's variables, or there is no such call.
    #[default]
    Target,
    /// New variables.
    New,
    /// Both; or the call for new ones was not found.
    Unclear,
}

/// The new variables of one ELF file.
#[derive(Debug, Default)]
pub(crate) struct NewTls {
    /// Offset in the block by unit and section.
    offsets: HashMap<(usize, usize), u64>,
    /// By piece of code, where it is not the target's.
    bases: HashMap<usize, Base>,
    /// The function that returns the address of one.
    pub(crate) getter: Option<Place>,
}

impl NewTls {
    /// Gives each new variable its place and makes the getter.
    pub(crate) fn plan(
        resolver: &Resolver<'_, '_>,
        units: &[Unit<'_>],
        pieces: &mut Pieces,
        refused: &mut Vec<Refusal>,
        warnings: &mut Vec<Warning>,
    ) -> Self {
        let names = names(resolver, units);
        let (Some(first), all) = (names.first(), names.join(", ")) else { return Self::default() };
        let mut new = Self::default();
        let Some(block) = new.lay_out(units) else {
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
        for (u, unit) in units.iter().enumerate() {
            new.bases.extend(
                bases(resolver, units, u)
                    .into_iter()
                    .filter_map(|(section, base)| unit.chunks.get(section).map(|chunk| (*chunk, base))),
            );
        }
        match getter::add(&block, first, resolver, pieces) {
            Ok(getter) => new.getter = Some(getter),
            Err(refusal) => refused.push(refusal),
        }
        warnings.push(Warning {
            what: "new thread-local variable".to_owned(),
            place: all,
            why: "each thread gets room for it by `calloc` at the first use: that must not happen first in a signal handler, nor inside of \
                  an allocator; at the end of a thread it is freed among the destructors of thread-specific data"
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

    pub(crate) fn base(&self, chunk: usize) -> Base {
        self.bases.get(&chunk).copied().unwrap_or_default()
    }
}

impl Resolver<'_, '_> {
    /// Whether symbol `index` of unit `unit` is a thread-local variable that the patch adds.
    pub(crate) fn is_new_tls(&self, units: &[Unit<'_>], unit: usize, index: usize) -> bool {
        let Some(symbol) = units[unit].patch.symbols.get(index) else { return false };
        match &symbol.place {
            SymbolPlace::Defined { .. } => {
                symbol.stype == SymbolType::Tls && self.shared(&units[unit], symbol).is_none()
            }
            SymbolPlace::Existing { .. } => false,
            SymbolPlace::Undefined => {
                let definition = self.globals.get(&symbol.name);
                definition.is_some_and(|(u, i)| (*u, *i) != (unit, index) && self.is_new_tls(units, *u, *i))
            }
        }
    }

    /// What a symbol of a new variable stands for.
    pub(crate) fn added_tls(
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
                "each module that contains it may bring a copy, and the dynamic loader would choose one for all",
                "define it in one source file, not inline in a header",
            ));
        }
        let Some(start) = self.new_tls.offset(unit, section) else {
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
}

/// The new variables.
fn names(resolver: &Resolver<'_, '_>, units: &[Unit<'_>]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (u, unit) in units.iter().enumerate() {
        for (i, symbol) in unit.patch.symbols.iter().enumerate() {
            let defined = matches!(symbol.place, SymbolPlace::Defined { .. });
            if defined && symbol.stype == SymbolType::Tls && resolver.is_new_tls(units, u, i) {
                names.insert(format!("{} ({})", symbol.name, unit.name));
            }
        }
    }
    names.into_iter().collect()
}

/// Per section of code with an offset of the local-dynamic model: whose address its call returns.
fn bases(resolver: &Resolver<'_, '_>, units: &[Unit<'_>], u: usize) -> Vec<(usize, Base)> {
    let patch = units[u].patch;
    let frames = frames(patch);
    // By frame: a call, offsets of the target's variables, offsets of new ones.
    let mut seen: HashMap<usize, [bool; 3]> = HashMap::new();
    for (index, section) in patch.sections.iter().enumerate().filter(|(_, s)| s.kind == SectionKind::Text) {
        for reloc in &section.relocations {
            let what = match reloc.r_type {
                r::TLSLD => 0,
                r::DTPOFF32 | r::DTPOFF64 => 1 + usize::from(resolver.is_new_tls(units, u, reloc.symbol)),
                _ => continue,
            };
            seen.entry(frames[index]).or_default()[what] = true;
        }
    }
    let base = |index: usize| match seen.get(&frames[index])? {
        [_, _, false] => None,
        [true, false, true] => Some((index, Base::New)),
        _ => Some((index, Base::Unclear)),
    };
    (0..patch.sections.len())
        .filter(|i| patch.sections[*i].kind == SectionKind::Text)
        .filter_map(base)
        .collect()
}

/// Per section a number that is the same for all sections which may share a stack frame: a function and what it jumps to, directly or by a
/// jump table. A call begins a new one.
fn frames(patch: &PatchObject) -> Vec<usize> {
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
    let entry = |reloc: &Relocation| reloc.r_type != r::ABS64 || reloc.addend != 0;
    let leads_to_code = |index: usize| {
        let mut relocations = patch.sections[index].relocations.iter().filter(|r| entry(r));
        relocations.any(|r| to(r).is_some_and(|to| kind(to) == SectionKind::Text))
    };
    let mut parents: Vec<usize> = (0..patch.sections.len()).collect();
    for (index, section) in patch.sections.iter().enumerate().filter(|(_, s)| s.kind != SectionKind::EhFrame)
    {
        for reloc in &section.relocations {
            let before =
                usize::try_from(reloc.offset).ok().and_then(|at| section.data.get(at.checked_sub(1)?));
            let is_call = reloc.is_branch && section.kind == SectionKind::Text && before == Some(&0xe8);
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
