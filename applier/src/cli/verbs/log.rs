//! `log` and `history`.

use crate::{
    cli::args::{Log, Named},
    manage::{Context, Error, Inventory, TargetIndex, view},
    state::{Event, now, read_log, timestamp},
};
use patchfile::exit::ManageExit;
use std::ffi::OsStr;

/// Shows what was done.
pub(crate) fn log(ctx: &mut Context<'_>, args: &Log) -> Result<ManageExit, Error> {
    let events = read_log(&ctx.root).map_err(|e| Error::failed("log", e))?;
    let about = |e: &Event| args.ids.is_empty() || args.ids.iter().any(|id| is_about(e, id));
    let since = match &args.since {
        Some(text) => since(text, now()).ok_or_else(|| {
            Error::new(ManageExit::Usage, format!("--since {text}"), "is no time")
                .hint("a time is 2026-11-30, 2026-11-30T12:00:00Z, or 90m, 2h, 3d for that long ago")
        })?,
        None => String::new(),
    };
    let events: Vec<&Event> = events.iter().filter(|e| about(e) && e.when >= since).collect();
    let skipped = args.lines.map_or(0, |n| events.len().saturating_sub(n));
    for event in &events[skipped..] {
        if args.json {
            let line = serde_json::to_string(event).map_err(|e| Error::failed("log", e))?;
            ctx.say(line)?;
        } else {
            say(ctx, event)?;
        }
    }
    Ok(ManageExit::Done)
}

/// The history of patches, also of patches whose files are gone, and their present state.
pub(crate) fn history(ctx: &mut Context<'_>, args: &Named) -> Result<ManageExit, Error> {
    let inventory = Inventory::read(ctx)?;
    let events = read_log(&ctx.root).map_err(|e| Error::failed("log", e))?;
    for id in &args.ids {
        let text = id.to_string_lossy();
        let logged = |e: &Event| is_about(e, id);
        // A patch that was removed is only in the log.
        let known = match inventory.resolve(ctx, std::slice::from_ref(id)) {
            Ok(mut known) => known.pop(),
            Err(_) if events.iter().any(logged) => None,
            Err(error) => return Err(error),
        };
        // Versions of one patch have one name.
        let about = |e: &&Event| match &known {
            Some(known) => e.uuid == known.uuid || e.patch == known.id,
            None => logged(e),
        };
        for event in events.iter().filter(about) {
            say(ctx, event)?;
        }
        match known {
            Some(known) => {
                let wanted = TargetIndex::new([&known]);
                let survey = ctx.backend.survey(&wanted.targets, &[]);
                let view = view(ctx, &inventory, known, &wanted.elfs[0], &survey);
                let [patched, pending, refused] = view.counts();
                ctx.say(format_args!(
                    "now                  {}: {}: {patched} patched, {pending} pending, {refused} refused",
                    view.known.id, view.state
                ))?;
            }
            None => ctx.say(format_args!("now                  {text}: not known any more"))?,
        }
    }
    Ok(ManageExit::Done)
}

/// Is the event about the patch of this name or uuid?
fn is_about(event: &Event, id: &OsStr) -> bool {
    let short = event.patch.rsplit('/').next().unwrap_or_default();
    id == event.patch.as_str() || id == short || id == event.uuid.to_string().as_str()
}

fn say(ctx: &mut Context<'_>, event: &Event) -> Result<(), Error> {
    let process = match (event.pid, &event.comm) {
        (Some(pid), Some(comm)) => format!(" process {pid} ({comm}):"),
        (Some(pid), None) => format!(" process {pid}:"),
        _ => String::new(),
    };
    let user = event.user.as_ref().map_or(String::new(), |user| format!(" [{user}]"));
    ctx.say(format_args!(
        "{} {:<8} {}:{process} {}{user}",
        event.when, event.verb, event.patch, event.outcome
    ))
}

/// The time that `text` means, as the log writes times: these are in order as text.
fn since(text: &str, now: u64) -> Option<String> {
    let unit = match text.chars().last()? {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(86_400),
        _ => None,
    };
    if let Some(unit) = unit {
        let number: u64 = text[..text.len() - 1].parse().ok()?;
        return Some(timestamp(now.saturating_sub(number.checked_mul(unit)?)));
    }
    // The beginning of a time, as that is how the log has it.
    let shape = "0000-00-00T00:00:00Z";
    let text = text.replacen(' ', "T", 1);
    let fits = |(a, b): (char, char)| if b == '0' { a.is_ascii_digit() } else { a == b };
    (text.len() >= 4 && text.len() <= shape.len() && text.chars().zip(shape.chars()).all(fits))
        .then_some(text)
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn times() {
        let now = 1_735_689_600;
        assert_eq!(since("2h", now).as_deref(), Some("2024-12-31T22:00:00Z"));
        assert_eq!(since("3d", now).as_deref(), Some("2024-12-29T00:00:00Z"));
        assert_eq!(since("2024-12-31", now).as_deref(), Some("2024-12-31"));
        assert_eq!(since("2024-12-31 10:00", now).as_deref(), Some("2024-12-31T10:00"));
        for text in ["", "yesterday", "31.12.2024", "h", "-3h", "2024-12-31T22:00:00+01:00"] {
            assert_eq!(since(text, now), None, "{text}");
        }
    }
}
