//! Functions that the macros of the kernel's `upatch.h` mark as hooks, by the section that they are in.

use super::units::Unit;
use crate::error::{Context, Result};
use differ::{SymbolPlace, SymbolType};
use linker::KernelObject;
use std::path::{Path, PathBuf};

/// The header that a fix can include, and that with kpatch's names.
const HEADERS: [(&str, &str); 2] = [
    ("upatch.h", include_str!("../../include/kernel/upatch.h")),
    ("kpatch-macros.h", include_str!("../../include/kernel/kpatch-macros.h")),
];

/// When the kernel calls a hook: the section, and the member of `struct klp_callbacks`.
const POINTS: [(&str, &str); 4] = [
    (".text.upatch.pre_apply", "pre_patch"),
    (".text.upatch.post_apply", "post_patch"),
    (".text.upatch.pre_unapply", "pre_unpatch"),
    (".text.upatch.post_unapply", "post_unpatch"),
];

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Callback {
    /// The object that it belongs to.
    pub(super) object: KernelObject,
    /// The member of `struct klp_callbacks`.
    pub(super) member: &'static str,
    /// The function, a global symbol of a part.
    pub(super) symbol: String,
}

/// Writes the headers to a folder; gives it.
///
/// # Errors
/// When it cannot be written.
pub(super) fn headers(dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).at(dir)?;
    for (name, text) in HEADERS {
        let path = dir.join(name);
        std::fs::write(&path, text).writing(&path)?;
    }
    Ok(dir.to_path_buf())
}

/// All hooks, in the order of the units.
pub(super) fn collect(units: &[Unit]) -> Vec<Callback> {
    let mut all = Vec::new();
    for unit in units {
        let Some(patch) = &unit.diff.patch else { continue };
        for symbol in patch.symbols.iter().filter(|s| s.stype == SymbolType::Function) {
            let SymbolPlace::Defined { section, .. } = &symbol.place else { continue };
            let Some(name) = patch.sections.get(*section).map(|s| s.name.as_str()) else { continue };
            if let Some((_, member)) = POINTS.iter().find(|(point, _)| *point == name) {
                all.push(Callback { object: unit.object.clone(), member, symbol: symbol.name.clone() });
            }
        }
    }
    all
}
