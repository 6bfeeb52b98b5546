//! Patches of the kernel: the service brings the kernel to where the state says it shall be, at boot before
//! anything else. It waits for no transition; it comes by again.

use crate::{
    catalog::Entry,
    kernel::LivePatch,
    manage::{
        Context, Error, Inventory,
        kernel::{
            Transition, TransitionOutcome, bring, fits, image, is_for_this_kernel, is_idle, once_only, take,
        },
    },
    state::{Event, Record, SERVICE, append},
};
use patchfile::Uuid;
use std::{collections::HashMap, time::Duration};

/// For how long the old transition is waited for when a patch is loaded anew. None of its code is in force
/// then, so no task holds it up for long.
const ANEW: Duration = Duration::from_secs(10);

/// What the service remembers of patches of the kernel.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// What was reported of each patch last: the same trouble is reported once.
    reports: HashMap<Uuid, String>,
    /// Modules that the kernel refuses to load for the second time while the patch is active.
    once_only: HashMap<Uuid, Vec<Watched>>,
    /// Has the service looked at the kernel before? What went before it began it does not know.
    begun: bool,
}

#[derive(Debug)]
struct Watched {
    module: String,
    /// Was it there while the patch was?
    seen: bool,
}

impl Memory {
    /// Looks which modules are there. Has one gone, so that it cannot come again?
    pub(super) fn is_one_gone(&mut self, ctx: &Context<'_>) -> bool {
        let kernel = ctx.backend.kernel();
        let mut gone = false;
        for watched in self.once_only.values_mut().flatten() {
            let there = kernel.has(&watched.module);
            gone |= watched.seen && !there;
            watched.seen |= there;
        }
        gone
    }
}

/// Takes the next step with each patch of the kernel. Is there something left to be tried again soon?
///
/// # Errors
/// The log or standard output cannot be written.
pub(super) fn reconcile(
    ctx: &mut Context<'_>,
    inventory: &Inventory,
    memory: &mut Memory,
) -> Result<bool, Error> {
    let mut open = false;
    for record in &inventory.state.patches {
        let kernel = ctx.backend.kernel();
        let entry = inventory.catalog.get(record.uuid);
        let wanted = entry.and_then(|e| e.manifest.kernel.as_ref());
        let live = kernel.find(record.uuid);
        let ended = match (record.state.is_active(), entry, wanted) {
            (true, Some(entry), Some(wanted)) => match &live {
                Some(live) if live.enabled => {
                    open |= live.moving;
                    match reload(ctx, inventory, entry, live, memory) {
                        Some(ended) => ended,
                        None => continue,
                    }
                }
                _ if !is_for_this_kernel(&kernel, wanted) => continue,
                _ => load(ctx, inventory, entry),
            },
            (false, ..) if kernel.module_of(record.uuid).is_some() => {
                take(ctx, &record.id, record.uuid, Transition::of_service())
            }
            _ => continue,
        };
        open |= tell(ctx, record, ended, memory)?;
    }
    memory.begun = true;
    memory.once_only.retain(|uuid, _| ctx.backend.kernel().find(*uuid).is_some());
    Ok(open)
}

fn load(ctx: &Context<'_>, inventory: &Inventory, entry: &Entry) -> Result<TransitionOutcome, Error> {
    let patch = entry.load(ctx.owner).map_err(|e| Error::entry(&entry.manifest.id(), &e))?;
    fits(ctx, inventory, &patch)?;
    bring(ctx, &entry.manifest, image(&patch), Transition::of_service())
}

/// Loads a patch anew whose module has gone, so that the module can come again. `None`: nothing is to be
/// done.
fn reload(
    ctx: &Context<'_>,
    inventory: &Inventory,
    entry: &Entry,
    live: &LivePatch,
    memory: &mut Memory,
) -> Option<Result<TransitionOutcome, Error>> {
    let (kernel, uuid, id) = (ctx.backend.kernel(), entry.manifest.uuid, entry.manifest.id());
    let idle = is_idle(&kernel, live);
    let watched = memory.once_only.entry(uuid).or_insert_with(|| {
        let loaded = entry.load(ctx.owner).ok();
        let modules = once_only(&kernel, &entry.manifest, loaded.as_ref().map(image));
        // Whether one came and went before the service began is not known.
        let seen = idle && !memory.begun;
        modules.into_iter().map(|module| Watched { module, seen }).collect()
    });
    let gone = |w: &&Watched| w.seen && !kernel.has(&w.module);
    let gone: Vec<_> = watched.iter().filter(gone).map(|w| w.module.clone()).collect();
    if gone.is_empty() || live.moving {
        return None;
    }
    // Watched on from now, as the next look may be half a minute away.
    watched.iter_mut().for_each(|w| w.seen = false);
    if !idle {
        let why = format!(
            "{} was unloaded, and this kernel cannot load it again while the patch is active. The patch \
             is in force elsewhere, so it is not taken out by itself: upatch deactive {id}, load the module, \
             upatch active {id}",
            gone.join(", ")
        );
        return Some(Err(Error::failed(id, why)));
    }
    let how = Transition::new(Some(ANEW), false);
    Some(take(ctx, &id, uuid, how).and_then(|_| load(ctx, inventory, entry)))
}

fn tell(
    ctx: &mut Context<'_>,
    record: &Record,
    ended: Result<TransitionOutcome, Error>,
    memory: &mut Memory,
) -> Result<bool, Error> {
    let (id, uuid) = (&record.id, record.uuid);
    let (words, again) = match ended {
        Ok(TransitionOutcome::Pending(_)) if record.state.is_active() => {
            ("loaded, in transition".to_owned(), true)
        }
        Ok(TransitionOutcome::Pending(_)) => ("on its way out".into(), true),
        Ok(_) if record.state.is_active() => ("patched the kernel".into(), false),
        Ok(_) => ("old code back in the kernel".into(), false),
        // Another transition ends by itself.
        Err(error) => (error.why, error.exit == patchfile::exit::ManageExit::Conflict),
    };
    if memory.reports.get(&uuid) != Some(&words) {
        ctx.say(format_args!("{id}: {words}"))?;
        append(&ctx.root, &[Event::new(SERVICE, id, uuid, words.as_str())])
            .map_err(|e| Error::failed("log", e))?;
        memory.reports.insert(uuid, words);
    }
    Ok(again)
}
