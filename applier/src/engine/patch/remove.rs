//! Deactivating a patch.

use super::{apply, hooks, inspect, returns, transaction::Transaction};
use crate::{
    Busy, Options, Outcome, ProcessError,
    engine::{
        Hindrance, load,
        remote::has_room,
        target::{
            process::{self, Process},
            steps::Steps,
            switches,
            threads::StoppedThreads,
        },
    },
};
use patchfile::{Uuid, control::Phase, image::HookPoint};

/// Puts the old code back in force, in all ELF files of the patch. The image stays mapped: data, strings and
/// function pointers of the patch may live on in the process; activating the patch again uses the same
/// memory.
///
/// # Errors
/// See [`ProcessError`]; the process is as before. [`ProcessError::NotLoaded`] when the process does not have
/// the patch.
pub fn deactivate(pid: i32, uuid: Uuid, options: &Options) -> Result<Outcome, ProcessError> {
    process::on_own_thread(pid, || match Process::open_alone(pid, options) {
        Ok(mut process) => {
            Outcome::of(deactivate_in(&mut process, uuid, options)).map_err(|e| process.blame(e))
        }
        Err(hindrance) => Outcome::of(Err(hindrance)),
    })
}

/// Does what [`deactivate`] does, on the calling OS thread. No other thread of ours is at the process.
pub(super) fn deactivate_in(
    process: &mut Process,
    uuid: Uuid,
    options: &Options,
) -> Result<Outcome, Hindrance> {
    let steps = Steps::new(options);
    let mut images = inspect::locate(&process.maps, &process.memory);
    let ours = |l: &crate::Located| l.control.uuid == uuid && l.control.phase == Phase::Ready;
    let change: Vec<usize> = (0..images.len()).filter(|i| ours(&images[*i])).collect();
    let change = apply::last_first(&images, change);
    if change.is_empty() {
        return Err(ProcessError::NotLoaded.into());
    }
    if change.iter().all(|i| !images[*i].in_force && !images[*i].control.active) {
        return Ok(Outcome::Already);
    }
    let mut zones: Vec<_> = images.iter().flat_map(apply::hop_zones).collect();
    if !options.lazy {
        zones.extend(change.iter().flat_map(|i| apply::image_zones(process, &images[*i])));
    }
    let mut tables = apply::tables(process, &images);
    let stacks = switches::stacks(process);
    let held = if zones.is_empty() {
        StoppedThreads::all(process, load::trace_options(process), &[])?
    } else {
        returns::quiesce(process, &mut tables, &zones, stacks, options)?
    };
    let room = hooks::room(process, &images, &change)?;
    if room > 0 && !has_room(process, held.threads(), &mut tables, room)? {
        return Err(Busy::no_room(process.pid).into());
    }
    hooks::call(process, &held, &mut tables, &images, &change, HookPoint::PreUnapply, &steps)?;
    Transaction::new(&process.memory, &mut images, &steps).run(&change, false)?;
    let called = hooks::call(process, &held, &mut tables, &images, &change, HookPoint::PostUnapply, &steps);
    Ok(afterwards(called))
}

/// What the hook says that is called when the old code is back. To take that back would help nobody, but it
/// should be known.
pub(super) fn afterwards(called: Result<(), ProcessError>) -> Outcome {
    match called {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::DoneBut(format!("the old code is back, but {error} (post-unapply)")),
    }
}
