//! Are the functions of an object in the shipped kernel?

use std::collections::HashSet;

use differ::{PatchObject, SymbolPlace};

use super::located::{Located, State};
use super::original::Original;
use super::shipped::Shipped;
use super::symvers::KernelObject;
use super::unit::KernelContext;
use crate::elf::STB_WEAK;
use crate::error::LinkError;

/// The result of comparing a unit with the object that it is linked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFit {
    /// All functions of the unit, in the order of its symbol table.
    pub functions: Vec<FittedFunction>,
}

/// One function of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FittedFunction {
    /// Its name.
    pub name: String,
    /// What was found.
    pub found: FunctionMatch,
}

/// What was found of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionMatch {
    /// It is there, byte for byte, and each of its references leads to what it names.
    Identical,
    /// It is there, and differs.
    Differs {
        /// Where in the function, in bytes.
        offset: u64,
        /// In words: the bytes or the reference, here and there.
        detail: String,
    },
    /// It is weak, and another unit's is linked.
    Overridden,
    /// No function of its name is there.
    Missing,
    /// Several functions of its name are there that are all the same, and nothing tells which is the unit's.
    Ambiguous,
}

impl std::fmt::Display for FunctionMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identical => f.write_str("the same"),
            Self::Differs { offset, detail } => write!(f, "differs at +{offset:#x}: {detail}"),
            Self::Overridden => f.write_str("another unit's is linked in its place"),
            Self::Missing => f.write_str("is not there"),
            Self::Ambiguous => f.write_str("is there several times, all the same"),
        }
    }
}

/// Compares all functions of `original` with those of `object`: byte for byte, with references resolved by
/// the symbol table of the kernel; what has no name in it, such as strings, by its content.
///
/// # Errors
/// When a file cannot be read, or `object` is a module that is not among those of `context`.
pub fn fidelity(
    unit: &str,
    object: &KernelObject,
    original: &[u8],
    context: &KernelContext<'_>,
) -> Result<KernelFit, LinkError> {
    let shipped = Shipped::of(object, context)?;
    let located = Located::new(Original::read(unit, original)?, shipped);
    let function = |(symbol, state): (&usize, &State)| {
        let symbol = &located.original.object.symbols[*symbol];
        let found = match state {
            State::Same(_) => FunctionMatch::Identical,
            State::Differs(_) | State::Missing if symbol.binding == STB_WEAK => FunctionMatch::Overridden,
            State::Differs(d) => FunctionMatch::Differs { offset: d.offset, detail: d.detail.clone() },
            State::Several(_) => FunctionMatch::Ambiguous,
            State::Missing => FunctionMatch::Missing,
        };
        FittedFunction { name: symbol.name.clone(), found }
    };
    Ok(KernelFit { functions: located.functions.iter().map(function).collect() })
}

impl KernelFit {
    /// Those of the functions that a patch replaces or refers to which are not the same in the kernel. Empty:
    /// the patch fits. A weak function of which another is linked can be referred to, but not replaced.
    pub fn contradicting(&self, patch: &PatchObject) -> Vec<&FittedFunction> {
        let (mut replaced, mut used) = (HashSet::new(), HashSet::new());
        for symbol in &patch.symbols {
            match &symbol.place {
                SymbolPlace::Defined { replaces, old_fragments, .. } => {
                    replaced.extend(replaces.iter().chain(old_fragments).map(String::as_str));
                }
                SymbolPlace::Existing { orig_name, .. } => drop(used.insert(orig_name.as_str())),
                SymbolPlace::Beside { neighbour, .. } => drop(used.insert(neighbour)),
                SymbolPlace::Undefined => {}
            }
        }
        let differs = |f: &&FittedFunction| {
            let name = f.name.as_str();
            let uses = used.contains(name) && f.found != FunctionMatch::Overridden;
            f.found != FunctionMatch::Identical && (replaced.contains(name) || uses)
        };
        self.functions.iter().filter(differs).collect()
    }
}
