//! Finding what an image refers to in the running process.

use super::relocate;
use crate::{
    ProcessError,
    target::{linkmap, memory::Memory, modules::Module, process::Process, symbols::Symbols},
};
use patchfile::image::{Export, Exported, Image, ImportKind, Reference};

/// Value of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// Known.
    Value(u64),
    /// What this function of the target returns (IFUNC resolver).
    ResultOf(u64),
}

/// What a patch adds to the symbols of a module of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sibling<'a> {
    /// Lowest address of the module.
    pub start: u64,
    /// Its load bias.
    pub bias: u64,
    /// Where the image is, or will be.
    pub base: u64,
    /// What it exports.
    pub exports: &'a [Export],
}

impl Sibling<'_> {
    fn find(&self, name: &str, version: Option<&str>) -> Option<u64> {
        let export = self.exports.iter().find(|e| e.name == name && e.version.as_deref() == version)?;
        Some(match export.at {
            Exported::Image(address) => self.base.wrapping_add(address),
            Exported::Target(address) => self.bias.wrapping_add(address),
        })
    }
}

/// Values of all references of `image`, which goes to `base` for `module`, beside the `siblings` of the same patch.
///
/// # Errors
/// [`ProcessError::Unresolved`], [`ProcessError::NoSibling`].
pub(crate) fn resolve(
    process: &Process,
    module: &Module,
    image: &Image,
    base: u64,
    siblings: &[Sibling<'_>],
) -> Result<Vec<Resolved>, ProcessError> {
    let memory = &process.memory;
    let mut tables: Option<Vec<Symbols<'_>>> = None;
    let resolve_one = |reference: &Reference| match reference {
        Reference::Sibling { name, version, kind } => {
            sibling(process, siblings, name, version.as_deref(), *kind)
        }
        Reference::Image => Ok(Resolved::Value(base)),
        Reference::Target => Ok(Resolved::Value(module.bias)),
        Reference::TargetWord { address } => {
            memory.word(module.bias.wrapping_add(*address)).map(Resolved::Value)
        }
        Reference::Import { name, version, weak, kind } => {
            let tables = tables.get_or_insert_with(|| symbol_tables(process, memory));
            match find(tables, name, version.as_deref(), *kind)? {
                Some(resolved) => Ok(resolved),
                None if *weak => Ok(Resolved::Value(0)),
                None => Err(ProcessError::Unresolved { symbol: versioned(name, version.as_deref()) }),
            }
        }
    };
    image.references.iter().map(resolve_one).collect()
}

/// Fields of `image`, which is at `base` already, that lead to siblings: address and content. Where they are may have changed since the image
/// was filled in, when libraries were closed and loaded again, or an applier was killed in between.
///
/// # Errors
/// [`ProcessError::NoSibling`].
pub(crate) fn sibling_fields(
    process: &Process,
    image: &Image,
    base: u64,
    siblings: &[Sibling<'_>],
) -> Result<Vec<(u64, Vec<u8>)>, ProcessError> {
    let mut fields = Vec::new();
    for relocation in &image.relocations {
        let reference = image.references.get(relocation.reference as usize);
        let Some(Reference::Sibling { name, version, kind }) = reference else { continue };
        // The answer of a resolver, in a module that has the symbol by itself, is the same as it was.
        if let Resolved::Value(value) = sibling(process, siblings, name, version.as_deref(), *kind)? {
            let field = relocate::field(relocation, value, base)?;
            fields.push((base.wrapping_add(relocation.address), field));
        }
    }
    Ok(fields)
}

/// What the dynamic loader would find if every module had been linked with its part of the patch.
fn sibling(
    process: &Process,
    siblings: &[Sibling<'_>],
    name: &str,
    version: Option<&str>,
    kind: ImportKind,
) -> Result<Resolved, ProcessError> {
    for module in linkmap::search_order(process) {
        let table = Symbols::of(module, &process.memory);
        if let Some(found) = find(table.as_slice(), name, version, kind)? {
            return Ok(found);
        }
        let added = siblings.iter().filter(|s| s.start == module.start);
        if let Some(address) = added.into_iter().find_map(|s| s.find(name, version)) {
            return Ok(Resolved::Value(address));
        }
    }
    Err(ProcessError::NoSibling { symbol: versioned(name, version) })
}

fn versioned(name: &str, version: Option<&str>) -> String {
    format!("{name}{}", version.map(|v| format!("@{v}")).unwrap_or_default())
}

fn symbol_tables<'a>(process: &'a Process, memory: &'a Memory) -> Vec<Symbols<'a>> {
    linkmap::search_order(process).into_iter().filter_map(|m| Symbols::of(m, memory)).collect()
}

fn find(
    tables: &[Symbols<'_>],
    name: &str,
    version: Option<&str>,
    kind: ImportKind,
) -> Result<Option<Resolved>, ProcessError> {
    let Some(found) = tables.iter().find_map(|t| t.find(name, version)) else { return Ok(None) };
    if found.tls {
        return Err(ProcessError::unfit(format!("{name} is thread-local in this process")));
    }
    Ok(Some(match kind {
        ImportKind::Function if found.ifunc => Resolved::ResultOf(found.address),
        _ => Resolved::Value(found.address),
    }))
}
