//! Functions that the macros of `upatch.h` mark as hooks, by the section that they are in.

use differ::{SymbolPlace, SymbolType};
use patchfile::image::{Hook, HookPoint};

use super::inputs::Unit;
use super::layout::Layout;

/// Section names of `upatch.h`.
const POINTS: [(&str, HookPoint); 4] = [
    (".text.upatch.pre_apply", HookPoint::PreApply),
    (".text.upatch.post_apply", HookPoint::PostApply),
    (".text.upatch.pre_unapply", HookPoint::PreUnapply),
    (".text.upatch.post_unapply", HookPoint::PostUnapply),
];

/// The point that functions of this section are called at.
fn point(section: &str) -> Option<HookPoint> {
    POINTS.iter().find(|(name, _)| *name == section).map(|(_, point)| *point)
}

/// All hooks in the order of the units. A hook that the original has too and that did not change is not
/// shipped, hence none.
pub(crate) fn collect(units: &[Unit<'_>], layout: &Layout) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for unit in units {
        for symbol in unit.patch.symbols.iter().filter(|s| s.stype == SymbolType::Function) {
            let SymbolPlace::Defined { section, offset, .. } = &symbol.place else { continue };
            let when = unit.patch.sections.get(*section).and_then(|s| point(&s.name));
            if let (Some(when), Some(&chunk)) = (when, unit.chunks.get(*section)) {
                hooks.push(Hook { when, address: layout.addresses[chunk] + offset });
            }
        }
    }
    hooks
}
