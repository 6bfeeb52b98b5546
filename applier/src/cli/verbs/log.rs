//! `log`.

use crate::{
    cli::args::Log,
    manage::{Context, Error},
    state::{Event, read_log},
};
use patchfile::exit::ManageExit;

/// Shows what was done.
pub(crate) fn log(ctx: &mut Context<'_>, args: &Log) -> Result<ManageExit, Error> {
    let events = read_log(&ctx.root).map_err(|e| Error::failed("log", e))?;
    let about = |e: &Event| {
        let name = e.patch.rsplit('/').next().unwrap_or_default();
        let is = |id: &str| id == e.patch || id == name || id == e.uuid.to_string();
        args.ids.is_empty() || args.ids.iter().filter_map(|i| i.to_str()).any(is)
    };
    for event in events.iter().filter(|e| about(e)) {
        if args.json {
            let line = serde_json::to_string(event).map_err(|e| Error::failed("log", e))?;
            ctx.say(line)?;
            continue;
        }
        let process = match (event.pid, &event.comm) {
            (Some(pid), Some(comm)) => format!(" process {pid} ({comm}):"),
            (Some(pid), None) => format!(" process {pid}:"),
            _ => String::new(),
        };
        ctx.say(format_args!(
            "{} {:<8} {}:{process} {}",
            event.when, event.verb, event.patch, event.outcome
        ))?;
    }
    Ok(ManageExit::Done)
}
