//! What a shell completes: the names of patches, and processes that have one.

use crate::{
    cli::args::Candidates,
    manage::{Context, Error, Inventory},
};
use patchfile::exit::ManageExit;
use std::collections::BTreeSet;

/// Prints the candidates, one in a line. Where nothing can be read there are none.
pub(crate) fn complete(ctx: &mut Context<'_>, what: Candidates) -> Result<ManageExit, Error> {
    let inventory = Inventory::read(ctx)?;
    let mut found = BTreeSet::new();
    match what {
        Candidates::Ids => {
            let manifests = inventory.catalog.entries.iter().map(|e| &e.manifest);
            found.extend(manifests.flat_map(|m| [m.id(), m.name.clone()].into_iter().chain(m.cve.clone())));
            found.extend(inventory.state.patches.iter().map(|r| r.id.clone()));
        }
        Candidates::Pids => {
            let survey = ctx.backend.survey(&[], &[]);
            let with = survey
                .processes
                .iter()
                .filter(|p| p.blocks.as_ref().is_ok_and(|blocks| blocks.iter().any(|b| b.in_force)));
            found.extend(with.map(|p| p.key.pid.to_string()));
        }
    }
    for candidate in found {
        ctx.say(candidate)?;
    }
    Ok(ManageExit::Done)
}
