//! `apply --replace`: one patch in place of all others of its package.

use super::{common::combine, deactivate};
use crate::{
    catalog::{Known, LoadedEntry},
    cli::args::Change,
    manage::{Context, Error, Inventory},
};
use patchfile::exit::ManageExit;

/// Takes the other active patches of the package of `patch` out. The new one is in force already (`done` says
/// how), so there is no moment without a fix; where it is not, those that are there stay.
pub(super) fn others(
    ctx: &mut Context<'_>,
    inventory: &mut Inventory,
    patch: &LoadedEntry,
    args: &Change,
    done: ManageExit,
) -> Result<ManageExit, Error> {
    let (manifest, package) = (&patch.manifest, &patch.manifest.package.name);
    let others: Vec<Known> = inventory
        .state
        .patches
        .iter()
        .filter(|r| r.state.is_active() && r.uuid != manifest.uuid)
        .filter_map(|r| {
            let entry = inventory.catalog.get(r.uuid)?;
            let kernel = entry.manifest.kernel.is_some() == manifest.kernel.is_some();
            (kernel && entry.manifest.package.name == *package).then(|| Known::from_entry(entry.clone()))
        })
        .collect();
    if done != ManageExit::Done && !others.is_empty() {
        ctx.warn(format_args!(
            "{}: not in force everywhere yet: the other patches of {package} stay; repeat the command then",
            manifest.id()
        ));
        return Ok(done);
    }
    let mut exits = vec![done];
    for known in others {
        exits.push(deactivate::one(ctx, inventory, "remove", &known, args, true)?);
    }
    Ok(combine(&exits))
}
