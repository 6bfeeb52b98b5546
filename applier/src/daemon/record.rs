//! Telling what came of starts: to the log, and to `status` where a process could not be patched.

use super::watch::Finding;
use crate::{
    manage::{Context, Ending, Error, Line, Settler, Tally, World},
    state::{Attempts, SERVICE, append},
};
use patchfile::Uuid;
use std::{collections::BTreeMap, path::Path, slice};

/// What the log says of a process that the service has patched.
pub(super) const DONE: &str = "patched";

/// Says which processes were patched.
pub(super) fn announce(ctx: &mut Context<'_>, id: &str, lines: &[Line]) -> Result<(), Error> {
    for line in lines.iter().filter(|l| matches!(l.ending, Ending::Done | Ending::DoneBut(_))) {
        ctx.say(format_args!("{id}: process {} ({}) patched", line.key.pid, line.comm))?;
    }
    Ok(())
}

/// Writes down what came of starts.
pub(super) fn record(ctx: &mut Context<'_>, findings: &[Finding]) -> Result<(), Error> {
    let root = ctx.root.clone();
    if nothing_but_done(&root, findings) {
        // Nothing of the state changes, so nobody need be kept away, and no patch be read: what begins should
        // have the processor.
        let done = |f: &Finding| f.line.done(SERVICE, &f.id, f.uuid, DONE);
        let events: Vec<_> = findings.iter().flat_map(done).collect();
        append(&root, &events).map_err(|e| Error::failed("log", e))?;
        return findings.iter().try_for_each(|f| announce(ctx, &f.id, slice::from_ref(&f.line)));
    }
    let mut tallies: BTreeMap<(Uuid, String), Tally> = BTreeMap::new();
    for finding in findings {
        tallies.entry((finding.uuid, finding.id.clone())).or_default().lines.push(finding.line.clone());
    }
    let mut world = World::change(ctx, &[])?;
    let settler = Settler::of_service(ctx, &root);
    for ((uuid, id), tally) in &tallies {
        settler.note(&mut world, id, *uuid, tally, DONE).map_err(|e| Error::failed("log", e))?;
        announce(ctx, id, &tally.lines)?;
    }
    world.save_attempts(&root, ctx.backend)
}

/// Were all patched, and is there no earlier attempt on one of them to be forgotten?
fn nothing_but_done(root: &Path, findings: &[Finding]) -> bool {
    let done = |f: &Finding| matches!(f.line.ending, Ending::Done | Ending::DoneBut(_));
    if !findings.iter().all(done) {
        return false;
    }
    let attempts = Attempts::read(root);
    findings.iter().all(|f| attempts.get(f.uuid, f.line.key).is_none())
}
