//! Processes that may not be looked into. What they run is not known, and nothing else is said of them.

use super::common::comm;
use crate::{
    manage::{Context, Error, ProcessOutcome, ProcessResult, Results, Survey},
    state::ProcessKey,
};
use patchfile::exit::ManageExit;

/// The named processes that nobody let us look into: refused, since they may run the patch.
pub(super) fn not_looked_at(survey: &Survey) -> Results {
    let line = |pid| ProcessResult {
        key: ProcessKey { pid, start: 0 },
        comm: comm(survey, pid),
        outcome: ProcessOutcome::Refused(
            "not permitted to look into it: whether it runs the patch is not known".into(),
            ManageExit::NotPermitted,
        ),
    };
    Results { lines: survey.unknown().into_iter().map(line).collect(), ..Results::default() }
}

/// Process ids named at most where nobody asked for these processes.
const NAMED: usize = 5;

/// In words, which processes could not be looked into.
pub(super) fn unknown(survey: &Survey) -> Option<String> {
    let pids = survey.unknown();
    if pids.is_empty() {
        return survey.hidden.then(|| "/proc (hidepid) does not list the processes of other users".into());
    }
    let named: Vec<_> = pids.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if pids.len() > NAMED { ", …" } else { "" };
    let es = if pids.len() == 1 { "" } else { "es" };
    Some(format!("not permitted to look into {} process{es} ({}{more})", pids.len(), named.join(", ")))
}

pub(super) fn blind_error(id: &str, why: &str) -> Error {
    let why = format!("{why}, so whether its code still runs is not known; nothing was changed");
    Error::new(ManageExit::NotPermitted, id, why)
        .hint("run it as the root of this machine, or name the processes that you may look into with --pid")
}

/// Tells users of verbs that only look that they do not see everything.
pub(super) fn warn(ctx: &mut Context<'_>, survey: &Survey) {
    if survey.unseen.is_empty() && !survey.hidden {
        return;
    }
    let n = match (survey.unseen.len(), survey.hidden) {
        (n, false) => n.to_string(),
        _ => "an unknown number of".into(),
    };
    let who = if ctx.owner.uid == 0 { "the root of the whole machine sees them" } else { "root sees them" };
    ctx.warn(format_args!("{n} other processes may not be looked into and are not counted; {who}"));
}
