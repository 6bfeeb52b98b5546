//! Finding what an image refers to in the running process.

use crate::{
    ProcessError,
    target::{linkmap, memory::Memory, modules::Module, process::Process, symbols::Symbols},
};
use patchfile::image::{Image, ImportKind, Reference};

/// Value of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// Known.
    Value(u64),
    /// What this function of the target returns (IFUNC resolver).
    ResultOf(u64),
}

/// Values of all references of `image`, which goes to `base` for `module`.
///
/// # Errors
/// [`ProcessError::Unresolved`].
pub(crate) fn resolve(
    process: &Process,
    module: &Module,
    image: &Image,
    base: u64,
) -> Result<Vec<Resolved>, ProcessError> {
    let memory = &process.memory;
    let mut tables: Option<Vec<Symbols<'_>>> = None;
    let resolve_one = |reference: &Reference| match reference {
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
                None => {
                    let version = version.as_ref().map(|v| format!("@{v}")).unwrap_or_default();
                    Err(ProcessError::Unresolved { symbol: format!("{name}{version}") })
                }
            }
        }
    };
    image.references.iter().map(resolve_one).collect()
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
