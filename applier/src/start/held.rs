//! A process at the point where patches go in.

use super::follow::Follower;
use crate::{
    LoadedPatch, Options, Outcome, ProcessError, TargetId,
    patch::apply_here,
    target::{process::Process, status},
};
use patchfile::Uuid;
use std::{cell::RefCell, marker::PhantomData};

/// A process whose one relevant thread is stopped by the calling OS thread. Dropping lets it go.
pub struct Held<'a> {
    pid: i32,
    follower: Follower<'a>,
    /// As it was seen last, and ours alone since then.
    seen: RefCell<Option<Process>>,
    /// Belongs to the OS thread that traces.
    not_send: PhantomData<*const ()>,
}

impl std::fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl<'a> Held<'a> {
    pub(super) fn new(pid: i32, follower: Follower<'a>) -> Self {
        Self { pid, follower, seen: RefCell::default(), not_send: PhantomData }
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    fn options(&self) -> Options {
        Options { held: Some(self.follower.tid), ..Options::default() }
    }

    /// Is the thread that was followed the only one that the calling OS thread holds? After an attempt that failed, others may be
    /// attached that have not stopped yet: only the end of the OS thread lets them go.
    pub fn alone(&self) -> bool {
        let own = super::own_tid();
        let threads = status::threads(self.pid).unwrap_or_default();
        let mut others = threads.into_iter().filter(|t| *t != self.follower.tid);
        !others.any(|t| status::status(t).is_ok_and(|s| s.tracer == own))
    }

    /// Which of `targets` the process maps.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub fn mapped(&self, targets: &[TargetId]) -> Result<Vec<usize>, ProcessError> {
        let (process, alone) = match Process::open_alone(self.pid, &self.options())? {
            Ok(process) => (process, true),
            Err(_) => (Process::open(self.pid, &self.options())?, false),
        };
        let ids: Vec<_> = process.modules.iter().map(|m| m.build_id(&process.memory)).collect();
        let is = |target: &TargetId| {
            let by_id = target.build_id.is_some() && ids.contains(&target.build_id);
            by_id || (target.build_id.is_none() && process.maps_code(target))
        };
        let mapped = targets.iter().enumerate().filter(|(_, t)| is(t)).map(|(i, _)| i).collect();
        *self.seen.borrow_mut() = Some(process).filter(|_| alone);
        Ok(mapped)
    }

    /// Brings `patch` into force, in the place of `older` versions of it. See [`crate::replace`].
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub fn apply(&self, patch: &LoadedPatch, older: &[Uuid]) -> Result<Outcome, ProcessError> {
        let seen =
            self.seen.take().map_or_else(|| Process::open_alone(self.pid, &self.options()), |p| Ok(Ok(p)));
        let mut process = match seen? {
            Ok(process) => process,
            Err(busy) => return Ok(Outcome::Busy(busy)),
        };
        let outcome = apply_here(&mut process, patch, older, &self.options())?;
        // While one waits for another thread of the process, that may do anything.
        *self.seen.borrow_mut() = Some(process).filter(|_| !matches!(outcome, Outcome::Busy(_)));
        Ok(outcome)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.follower.release();
    }
}

impl Process {
    fn maps_code(&self, target: &TargetId) -> bool {
        use crate::target::identity::matches;
        let real = self.modules.iter().filter(|m| m.path != "[vdso]");
        real.into_iter().any(|m| matches(target, m, &self.memory, self.view, &self.maps))
    }
}
