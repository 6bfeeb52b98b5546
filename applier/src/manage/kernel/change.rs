//! Loading and unloading, and the transition between: one operation at a time, each of which can be taken up
//! where another `upatch` was killed, since what is there is read from the kernel.

use super::{
    errors::{Module, not_loaded, not_taken_out},
    reload::{is_idle, once_only},
};
use crate::{
    kernel::{Holder, Kernel, KernelMessages, LivePatch},
    manage::{Context, Error},
};
use patchfile::{Manifest, Uuid, exit::ManageExit};
use std::{
    io, thread,
    time::{Duration, Instant},
};

/// First and longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// For how long a transition is waited for, unless `--timeout` says otherwise: the kernel sends sleeping
/// tasks a signal after 15 seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a transition with `--lazy`, which need not end in that time.
const TIMEOUT_LAZY: Duration = Duration::from_secs(5);
/// For how long a reversal is waited for, and what comes after a transition. Neither depends on other tasks
/// but those that have gone over already.
const BACK: Duration = Duration::from_secs(60);

/// How a transition is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transition {
    until: Instant,
    timeout: Duration,
    /// Leave the transition as it is when time is up, and do not reverse it.
    lazy: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransitionOutcome {
    /// Changed now.
    Done,
    /// Was so already.
    Already,
    /// It goes on; these tasks hold it up.
    Pending(Vec<Holder>),
}

/// Why waiting ended.
enum Wait {
    Over,
    Late,
    Stopped,
}

impl Transition {
    /// By the options of a verb.
    pub(crate) fn new(timeout: Option<Duration>, lazy: bool) -> Self {
        let timeout = timeout.unwrap_or(if lazy { TIMEOUT_LAZY } else { TIMEOUT });
        Self { until: Instant::now() + timeout, timeout, lazy }
    }

    /// For the service: it does not wait, since it looks again by itself.
    pub(crate) fn of_service() -> Self {
        Self::new(Some(Duration::ZERO), true)
    }
}

/// Brings a patch into force: `image` is its module, as checked.
///
/// # Errors
/// The kernel does not take it, or the transition did not end in time and was turned round: then nothing has
/// changed.
pub(crate) fn bring(
    ctx: &Context<'_>,
    manifest: &Manifest,
    image: &[u8],
    how: Transition,
) -> Result<TransitionOutcome, Error> {
    let (id, uuid) = (manifest.id(), manifest.uuid);
    let Some(wanted) = &manifest.kernel else { return Err(Error::failed(id, "is no patch of the kernel")) };
    let (kernel, module) = (ctx.backend.kernel(), wanted.module.as_str());
    let mut pause = PAUSE.0;
    let mut anew = !once_only(&kernel, manifest, Some(image)).is_empty();
    let begun = loop {
        match kernel.live_of(module) {
            Some(live) if live.uuid != Some(uuid) => return Err(taken(&id, &kernel, module)),
            // Asked for once more: its modules may have gone since it was loaded, and can come again then.
            Some(live) if anew && is_idle(&kernel, &live) => {
                anew = false;
                tracing::info!(module, "is loaded anew");
                take(ctx, &id, uuid, how)?;
                continue;
            }
            Some(live) if live.enabled => break live.moving,
            Some(_) => {
                // On its way out: turned round, unless it has arrived meanwhile.
                if kernel.enable(module, true).is_ok() {
                    break true;
                }
            }
            None if kernel.has(module) && kernel.owner(module) != Some(uuid) => {
                return Err(taken(&id, &kernel, module));
            }
            // Left there by whoever was killed.
            None if kernel.has(module) => unload(&kernel, &id, module)?,
            None => {
                let mut messages = KernelMessages::from_now(kernel.root);
                match kernel.ops.load(image) {
                    Ok(()) => {
                        tracing::info!(module, "loaded; its transition has begun");
                        break true;
                    }
                    Err(e) if again(&e) && Instant::now() < how.until && !ctx.stop.asked() => {}
                    Err(_) if ctx.stop.asked() => {
                        return Err(Error::failed(&id, "interrupted; nothing was changed"));
                    }
                    Err(e) => {
                        let module = Module { id: &id, name: module, image };
                        return Err(not_loaded(&kernel, module, &e, &mut messages));
                    }
                }
            }
        }
        ctx.stop.wait(pause);
        pause = (pause * 2).min(PAUSE.1);
    };
    if !begun {
        return Ok(TransitionOutcome::Already);
    }
    if kernel.live_of(module).is_none() {
        unload(&kernel, &id, module)?;
        return Err(Error::new(ManageExit::DoesNotFit, id, "its module is no live patch"));
    }
    let over = || kernel.live_of(module).is_none_or(|live| live.enabled && !live.moving);
    let wait = wait(ctx, how.until, over);
    let holders = match wait {
        Wait::Over if kernel.live_of(module).is_some() => return Ok(TransitionOutcome::Done),
        Wait::Over => return Err(Error::failed(id, "somebody else has taken it out at the same time")),
        // Who comes by again names nobody, and has no time for it.
        _ if how.timeout.is_zero() && how.lazy => return Ok(TransitionOutcome::Pending(Vec::new())),
        _ => held(&kernel, module, true),
    };
    if how.lazy && matches!(wait, Wait::Late) {
        return Ok(TransitionOutcome::Pending(holders));
    }
    // It may have ended while the tasks were looked at, or end before it is turned round.
    if over() {
        return Ok(TransitionOutcome::Done);
    }
    tracing::info!(module, "is turned round");
    let error = late(&id, &wait, how, &holders);
    turn(&kernel, &id, module, false)?;
    unload(&kernel, &id, module)?;
    Err(error)
}

/// Takes the module of a patch out.
///
/// # Errors
/// The transition did not end in time and was turned round: then nothing has changed. Or the kernel refuses.
pub(crate) fn take(
    ctx: &Context<'_>,
    id: &str,
    uuid: Uuid,
    how: Transition,
) -> Result<TransitionOutcome, Error> {
    let kernel = ctx.backend.kernel();
    let Some(module) = kernel.module_of(uuid) else { return Ok(TransitionOutcome::Already) };
    let live = || kernel.live_of(&module);
    let mut pause = PAUSE.0;
    while live().is_some_and(|live| live.enabled) {
        match kernel.enable(&module, false) {
            Ok(()) => break,
            Err(e) if again(&e) && Instant::now() < how.until && !ctx.stop.asked() => {}
            Err(_) if live().is_none() => break,
            Err(e) => return Err(not_taken_out(&kernel, id, &module, &e)),
        }
        ctx.stop.wait(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
    let over = || live().is_none();
    let wait = wait(ctx, how.until, over);
    if !matches!(wait, Wait::Over) {
        if how.timeout.is_zero() && how.lazy {
            return Ok(TransitionOutcome::Pending(Vec::new()));
        }
        let holders = held(&kernel, &module, false);
        if how.lazy && matches!(wait, Wait::Late) {
            return Ok(TransitionOutcome::Pending(holders));
        }
        if !over() {
            let error = late(id, &wait, how, &holders);
            turn(&kernel, id, &module, true)?;
            return Err(error);
        }
    }
    unload(&kernel, id, &module)?;
    Ok(TransitionOutcome::Done)
}

fn again(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// Waits until it is `over`, the time has come, or a stop is asked for.
fn wait(ctx: &Context<'_>, until: Instant, over: impl Fn() -> bool) -> Wait {
    let mut pause = PAUSE.0;
    loop {
        if over() {
            return Wait::Over;
        }
        let left = until.saturating_duration_since(Instant::now());
        if ctx.stop.asked() {
            return Wait::Stopped;
        }
        if left.is_zero() {
            return Wait::Late;
        }
        ctx.stop.wait(pause.min(left));
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Turns a transition round, and waits for that. Nobody can ask to stop here: it would be left behind.
fn turn(kernel: &Kernel<'_>, id: &str, module: &str, on: bool) -> Result<(), Error> {
    let there = || match kernel.live_of(module) {
        None => true,
        Some(live) => on && live.enabled && !live.moving,
    };
    let is_turned = |live: &LivePatch| live.enabled == on;
    let until = Instant::now() + BACK;
    while !there() {
        let turned = kernel.live_of(module).as_ref().is_none_or(is_turned);
        let error = if turned { None } else { kernel.enable(module, on).err() };
        if Instant::now() >= until {
            let why = error.map_or("takes its time".to_owned(), |e| e.to_string());
            let holders = held(kernel, module, on);
            let error = Error::failed(id, format_args!("cannot be turned round in time: {why}"));
            return Err(holders.iter().fold(error, |e, h| e.hint(h.to_string())));
        }
        thread::sleep(PAUSE.1 / 4);
    }
    Ok(())
}

fn unload(kernel: &Kernel<'_>, id: &str, module: &str) -> Result<(), Error> {
    let until = Instant::now() + BACK;
    loop {
        // Another program may read the module's files at this moment, which keeps it in use.
        match kernel.ops.unload(module) {
            Ok(()) => return Ok(()),
            Err(_) if !kernel.has(module) => return Ok(()),
            Err(e) if Instant::now() >= until => {
                let error = Error::failed(id, format_args!("its module {module} cannot be unloaded: {e}"));
                return Err(error.hint("it is not in force any more; see: lsmod"));
            }
            Err(_) => thread::sleep(PAUSE.1 / 4),
        }
    }
}

fn held(kernel: &Kernel<'_>, module: &str, on: bool) -> Vec<Holder> {
    let functions: Vec<_> =
        kernel.live_of(module).into_iter().flat_map(|l| l.objects).flat_map(|o| o.functions).collect();
    kernel.holders_in_words(on, &functions)
}

fn late(id: &str, wait: &Wait, how: Transition, holders: &[Holder]) -> Error {
    let why = match wait {
        Wait::Stopped => "interrupted".to_owned(),
        _ => format!("the transition did not end within {} s", how.timeout.as_secs_f64()),
    };
    let who = match holders {
        [] => "no task in /proc holds it up: idle processors are yet to go over".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    };
    let error = Error::failed(id, format_args!("{why}; it was turned round, and nothing was changed: {who}"));
    error.hint("try again with a longer --timeout, end or wake these tasks, or leave it pending: --lazy")
}

fn taken(id: &str, kernel: &Kernel<'_>, module: &str) -> Error {
    let owner = kernel.owner(module).map_or("not ours".into(), |uuid| format!("of the patch {uuid}"));
    Error::new(ManageExit::Conflict, id, format_args!("a module {module} is loaded, and is {owner}"))
        .hint("take that patch out first (upatch remove), or give this one another --name")
}
