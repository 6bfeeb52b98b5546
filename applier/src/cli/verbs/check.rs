//! `check`.

use super::common::{each, exist, fits, load, probe_all};
use crate::{
    cli::{args::Check, report},
    manage::kernel::{self, refuses_pids},
    manage::{Context, Error, Inventory, ProcessOutcome, Results, targets},
};
use patchfile::exit::ManageExit;
use serde_json::json;

/// Would these patches apply here? Reads only.
pub(crate) fn check(ctx: &mut Context<'_>, args: &Check) -> Result<ManageExit, Error> {
    let pids = &args.show.only.pids;
    exist(ctx, pids)?;
    let inventory = Inventory::read(ctx)?;
    let patches = inventory.resolve(ctx, &args.show.ids)?;
    refuses_pids(ctx, &patches, pids)?;
    let mut printed = Vec::new();
    let exit = each(ctx, patches, |ctx, known| {
        let checked = load(ctx, &known).and_then(|patch| {
            if patch.manifest.kernel.is_some() {
                kernel::fits(ctx, &inventory, &patch)?;
                return Ok(Results::default());
            }
            let survey = ctx.backend.survey(&targets(&patch.manifest), pids);
            let misfits = fits(ctx, &known.id, &patch.manifest, &survey, pids)?;
            let processes = survey.processes.iter().filter(|p| !p.targets.is_empty());
            let mut results = probe_all(ctx, &patch, processes, args.lazy);
            results.extend(misfits);
            Ok(results)
        });
        let (id, uuid) = (&known.id, known.uuid);
        let results = match checked {
            Ok(results) => results,
            Err(error) => {
                printed
                    .push(json!({"id": id, "uuid": uuid, "fits": false, "why": error.why, "processes": []}));
                return Err(error);
            }
        };
        let mut lines = Vec::new();
        for line in results.lines.iter().filter(|l| l.outcome != ProcessOutcome::Gone) {
            let (state, why) = match &line.outcome {
                ProcessOutcome::Already => ("patched", None),
                ProcessOutcome::Pending(why) => ("busy", Some(why)),
                ProcessOutcome::Refused(why, _) => ("refused", Some(why)),
                ProcessOutcome::Done | ProcessOutcome::DoneBut(_) | ProcessOutcome::Gone => ("ready", None),
            };
            let (pid, comm) = (line.key.pid, &line.comm);
            lines.push(json!({"pid": pid, "comm": comm, "state": state, "why": why}));
            if !args.show.json {
                let why = why.map_or(String::new(), |w| format!(": {w}"));
                ctx.say(format_args!("{id}: process {pid} ({comm}): {state}{why}"))?;
            }
        }
        let fits = !results.all_refused();
        if !args.show.json {
            let verdict = if fits { "fits" } else { "does not apply" };
            let none = if lines.is_empty() && !kernel::is_of_kernel(ctx, &known) {
                ": no process runs its target now"
            } else {
                ""
            };
            ctx.say(format_args!("{id}: {verdict}{none}"))?;
        }
        printed.push(json!({"id": id, "uuid": uuid, "fits": fits, "why": null, "processes": lines}));
        Ok(results.exit())
    })?;
    if args.show.json {
        report::json(ctx, &json!({ "patches": printed }))?;
    }
    Ok(exit)
}
