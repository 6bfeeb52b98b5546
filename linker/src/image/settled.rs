//! Where the pieces of the patched objects are in the end, for debuggers.

use differ::{Extent, Settled};

use crate::elf::{STB_LOCAL, STT_TLS};
use crate::image::input::LinkInput;
use crate::image::layout::Layout;
use crate::image::resolve::{Resolver, Unit};
use crate::locate::unit::Placement;

/// For each unit its shipped pieces, and of those that stay in the target the ones whose place is certain.
pub(crate) fn settled(
    input: &LinkInput<'_>,
    units: &[Unit<'_>],
    resolver: &Resolver<'_, '_>,
    layout: &Layout,
) -> Vec<Vec<(Extent, Settled)>> {
    let of_unit = |(given, unit): (&crate::UnitPatch<'_>, &Unit<'_>)| {
        let shipped = given.extents.shipped.iter().zip(&unit.chunks);
        let shipped = shipped.map(|(extent, chunk)| (*extent, Settled::Image(layout.addresses[*chunk])));
        let kept = given.extents.kept.iter().filter_map(|(extent, name)| {
            let at = in_target(resolver, unit.placement.as_ref()?, name)?;
            Some((*extent, Settled::Target(at)))
        });
        shipped.chain(kept).collect()
    };
    input.units.iter().zip(units).map(of_unit).collect()
}

/// Address in the target of a variable that the unit defines. `None` also where the process may have taken another module's definition.
fn in_target(resolver: &Resolver<'_, '_>, placement: &Placement<'_>, name: &str) -> Option<u64> {
    let at = placement.locate(name, resolver.linked).ok()??;
    let own = at.binding == STB_LOCAL || at.visibility != 0 || resolver.target.executable;
    if !own || at.overridden || at.found.absolute || at.found.kind == STT_TLS {
        return None;
    }
    let file = if at.binding == STB_LOCAL { at.file.as_str() } else { "" };
    resolver.translate(&at.name, file, &at.found).ok()
}
