//! Where the pieces of the patched objects are in the end, for debuggers.

use differ::{Extent, LinkedAddress};

use super::input::{LinkInput, UnitPatch};
use super::inputs::{Inputs, Unit};
use super::layout::Layout;
use crate::elf::{STB_LOCAL, STT_TLS};
use crate::locate::unit::LocatedUnit;

/// For each unit its shipped pieces, and of those that stay in the target the ones whose place is certain.
pub(crate) fn settled(
    input: &LinkInput<'_>,
    inputs: &Inputs<'_, '_>,
    layout: &Layout,
) -> Vec<Vec<(Extent, LinkedAddress)>> {
    let of_unit = |(given, unit): (&UnitPatch<'_>, &Unit<'_>)| {
        let shipped = given.extents.shipped.iter().zip(&unit.chunks);
        let shipped =
            shipped.map(|(extent, chunk)| (*extent, LinkedAddress::Image(layout.addresses[*chunk])));
        let kept = given.extents.kept.iter().filter_map(|(extent, name)| {
            let at = in_target(inputs, unit.located.as_ref()?, name)?;
            Some((*extent, LinkedAddress::Target(at)))
        });
        shipped.chain(kept).collect()
    };
    input.units.iter().zip(inputs.units).map(of_unit).collect()
}

/// Address in the target of a variable that the unit defines. `None` also where the process may have taken
/// another module's definition.
fn in_target(inputs: &Inputs<'_, '_>, located: &LocatedUnit<'_>, name: &str) -> Option<u64> {
    let at = located.locate(name, inputs.linked).ok()??;
    let own = at.binding == STB_LOCAL || at.visibility != 0 || inputs.target.executable;
    if !own || at.overridden || at.found.absolute || at.found.kind == STT_TLS {
        return None;
    }
    let file = if at.binding == STB_LOCAL { at.file.as_str() } else { "" };
    inputs.translate(&at.name, file, &at.found).ok()
}
