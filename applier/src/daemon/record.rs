//! Telling what came of starts: to the log, and to `status` where a process could not be patched.

use super::watch::StartResult;
use crate::{
    manage::{Context, Error, Inventory, ProcessOutcome, ProcessResult, Reconciler, Results},
    state::{Attempts, SERVICE, append},
};
use patchfile::Uuid;
use std::{collections::BTreeMap, path::Path, slice};

/// What the log says of a process that the service has patched.
pub(super) const DONE: &str = "patched";

/// Says which processes were patched.
pub(super) fn announce(ctx: &mut Context<'_>, id: &str, lines: &[ProcessResult]) -> Result<(), Error> {
    for line in
        lines.iter().filter(|l| matches!(l.outcome, ProcessOutcome::Done | ProcessOutcome::DoneBut(_)))
    {
        ctx.say(format_args!("{id}: process {} ({}) patched", line.key.pid, line.comm))?;
    }
    Ok(())
}

/// Writes down what came of starts.
pub(super) fn record(ctx: &mut Context<'_>, start_results: &[StartResult]) -> Result<(), Error> {
    let root = ctx.root.clone();
    if nothing_but_done(&root, start_results) {
        // Nothing of the state changes, so nobody need be kept away, and no patch be read: what begins should
        // have the processor.
        let done = |f: &StartResult| f.line.done(SERVICE, &f.id, f.uuid, DONE);
        let events: Vec<_> = start_results.iter().flat_map(done).collect();
        append(&root, &events).map_err(|e| Error::failed("log", e))?;
        return start_results.iter().try_for_each(|f| announce(ctx, &f.id, slice::from_ref(&f.line)));
    }
    let mut tallies: BTreeMap<(Uuid, String), Results> = BTreeMap::new();
    for finding in start_results {
        tallies.entry((finding.uuid, finding.id.clone())).or_default().lines.push(finding.line.clone());
    }
    let mut inventory = Inventory::lock(ctx, &[])?;
    let reconciler = Reconciler::of_service(ctx, &root);
    for ((uuid, id), results) in &tallies {
        reconciler.note(&mut inventory, id, *uuid, results, DONE).map_err(|e| Error::failed("log", e))?;
        announce(ctx, id, &results.lines)?;
    }
    inventory.save_attempts(&root, ctx.backend)
}

/// Were all patched, and is there no earlier attempt on one of them to be forgotten?
fn nothing_but_done(root: &Path, start_results: &[StartResult]) -> bool {
    let done = |f: &StartResult| matches!(f.line.outcome, ProcessOutcome::Done | ProcessOutcome::DoneBut(_));
    if !start_results.iter().all(done) {
        return false;
    }
    let attempts = Attempts::read(root);
    start_results.iter().all(|f| attempts.get(f.uuid, f.line.key).is_none())
}
