//! Finding what an image refers to in the running process.

use super::relocate;
use crate::{
    ProcessError,
    engine::target::{linkmap, modules::Module, process::Process, symbols::Symbols},
};
use patchfile::image::{Export, Exported, Image, ImportKind, Reference};
use std::cell::OnceCell;

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

impl<'a> Sibling<'a> {
    /// What `image` adds to `module` once it is at `base`.
    pub(crate) fn new(module: &Module, image: &'a Image, base: u64) -> Self {
        Self { start: module.start, bias: module.bias, base, exports: &image.exports }
    }

    fn find(&self, name: &str, version: Option<&str>) -> Option<u64> {
        let export = self.exports.iter().find(|e| e.name == name && e.version.as_deref() == version)?;
        Some(match export.at {
            Exported::Image(address) => self.base.wrapping_add(address),
            Exported::Target(address) => self.bias.wrapping_add(address),
        })
    }
}

/// Values of all references of `image`, which goes to `base` for `module`, beside the `siblings` of the same
/// patch.
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
    let scope = Scope::of(process);
    let resolve_one = |reference: &Reference| match reference {
        Reference::Sibling { name, version, kind } => {
            scope.find_with(siblings, name, version.as_deref(), *kind)
        }
        Reference::Image => Ok(Resolved::Value(base)),
        Reference::Target => Ok(Resolved::Value(module.bias)),
        Reference::TargetWord { address } => {
            process.memory.word(module.bias.wrapping_add(*address)).map(Resolved::Value)
        }
        Reference::Import { name, version, weak, kind } => {
            match scope.find(name, version.as_deref(), *kind)? {
                Some(resolved) => Ok(resolved),
                None if *weak => Ok(Resolved::Value(0)),
                None => Err(ProcessError::Unresolved { symbol: versioned(name, version.as_deref()) }),
            }
        }
    };
    image.references.iter().map(resolve_one).collect()
}

/// Fields of `image`, which is at `base` already, that lead to siblings: address and content. Where they are
/// may have changed since the image was filled in, when libraries were closed and loaded again, or an applier
/// was killed in between.
///
/// # Errors
/// [`ProcessError::NoSibling`].
pub(crate) fn sibling_fields(
    process: &Process,
    image: &Image,
    base: u64,
    siblings: &[Sibling<'_>],
) -> Result<Vec<(u64, Vec<u8>)>, ProcessError> {
    let scope = Scope::of(process);
    let mut fields = Vec::new();
    for relocation in &image.relocations {
        let reference = image.references.get(relocation.reference as usize);
        let Some(Reference::Sibling { name, version, kind }) = reference else { continue };
        // The answer of a resolver, in a module that has the symbol by itself, is the same as it was.
        if let Resolved::Value(value) = scope.find_with(siblings, name, version.as_deref(), *kind)? {
            let field = relocate::field(relocation, value, base)?;
            fields.push((base.wrapping_add(relocation.address), field));
        }
    }
    Ok(fields)
}

/// Where the dynamic loader of a process searches for symbols.
struct Scope<'a> {
    process: &'a Process,
    /// Address and symbols of each module, in the order of the search. Most patches ask for none.
    searched: OnceCell<Vec<(u64, Option<Symbols<'a>>)>>,
}

impl<'a> Scope<'a> {
    fn of(process: &'a Process) -> Self {
        Self { process, searched: OnceCell::new() }
    }

    fn modules(&self) -> &[(u64, Option<Symbols<'a>>)] {
        self.searched.get_or_init(|| {
            let order = linkmap::search_order(self.process).into_iter();
            order.map(|module| (module.start, Symbols::of(module, &self.process.memory))).collect()
        })
    }

    /// What the dynamic loader finds.
    fn find(
        &self,
        name: &str,
        version: Option<&str>,
        kind: ImportKind,
    ) -> Result<Option<Resolved>, ProcessError> {
        let tables = self.modules().iter().filter_map(|(_, symbols)| symbols.as_ref());
        first(tables, name, version, kind)
    }

    /// What it would find if every module had been linked with its part of the patch.
    fn find_with(
        &self,
        siblings: &[Sibling<'_>],
        name: &str,
        version: Option<&str>,
        kind: ImportKind,
    ) -> Result<Resolved, ProcessError> {
        for (start, symbols) in self.modules() {
            if let Some(found) = first(symbols, name, version, kind)? {
                return Ok(found);
            }
            let mut added = siblings.iter().filter(|s| s.start == *start);
            if let Some(address) = added.find_map(|s| s.find(name, version)) {
                return Ok(Resolved::Value(address));
            }
        }
        Err(ProcessError::NoSibling { symbol: versioned(name, version) })
    }
}

fn first<'a>(
    tables: impl IntoIterator<Item = &'a Symbols<'a>>,
    name: &str,
    version: Option<&str>,
    kind: ImportKind,
) -> Result<Option<Resolved>, ProcessError> {
    let Some(found) = tables.into_iter().find_map(|t| t.find(name, version)) else { return Ok(None) };
    if found.tls {
        return Err(ProcessError::unfit(format!("{name} is thread-local in this process")));
    }
    Ok(Some(match kind {
        ImportKind::Function if found.ifunc => Resolved::ResultOf(found.address),
        _ => Resolved::Value(found.address),
    }))
}

fn versioned(name: &str, version: Option<&str>) -> String {
    format!("{name}{}", version.map(|v| format!("@{v}")).unwrap_or_default())
}
