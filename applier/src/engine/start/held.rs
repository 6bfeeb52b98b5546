//! A process at the point where patches go in.

use super::follow::Follower;
use crate::{
    LoadedPatch, Options, Outcome, ProcessError, TargetId,
    engine::{
        Hindrance,
        patch::apply_here,
        target::{
            code_cave::CodeCave,
            process::{HeldThread, Process},
            status,
        },
    },
};
use patchfile::Uuid;
use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
};

/// A process whose one relevant thread is stopped by the calling OS thread. Dropping lets it go.
pub struct HeldProcess<'a> {
    pid: i32,
    follower: Follower<'a>,
    /// As it was seen last, and ours alone since then.
    seen: RefCell<Option<Process>>,
    /// Has an image come in since then?
    changed: Cell<bool>,
    /// See [`HeldThread`].
    cave: Option<CodeCave>,
    /// Belongs to the OS thread that traces.
    not_send: PhantomData<*const ()>,
}

impl std::fmt::Debug for HeldProcess<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldProcess").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl<'a> HeldProcess<'a> {
    pub(super) fn new(pid: i32, follower: Follower<'a>) -> Self {
        let (seen, changed) = (RefCell::default(), Cell::new(false));
        Self { pid, follower, seen, changed, cave: None, not_send: PhantomData }
    }

    /// As the process has been looked at since it was stopped. `alone`: nobody else of us is at it.
    pub(super) fn of(
        follower: Follower<'a>,
        mut process: Process,
        alone: bool,
        cave: Option<CodeCave>,
    ) -> Result<Self, ProcessError> {
        let mut held = Self::new(process.pid, follower);
        let stat = status::process(process.pid)?;
        process.start_time = stat.start_time;
        // A library that audits the loader may have started threads.
        held.cave = cave.filter(|_| stat.threads == 1);
        held.keep(process, alone);
        Ok(held)
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    fn hold(&self) -> HeldThread {
        HeldThread { tid: self.follower.tid, cave: self.cave }
    }

    fn keep(&self, mut process: Process, alone: bool) {
        process.held = Some(self.hold());
        *self.seen.borrow_mut() = Some(process).filter(|_| alone);
    }

    fn open(&self) -> Result<Process, Hindrance> {
        match self.seen.take() {
            Some(mut process) => {
                if self.changed.take() {
                    process.refresh()?;
                }
                Ok(process)
            }
            None => {
                let process = Process::open_alone(self.pid, &Options::default())?;
                Ok(Process { held: Some(self.hold()), ..process })
            }
        }
    }

    /// When it started, in clock ticks since boot.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub fn start_time(&self) -> Result<u64, ProcessError> {
        match &*self.seen.borrow() {
            Some(process) => Ok(process.start_time),
            None => crate::start_time(self.pid),
        }
    }

    /// Its name.
    pub fn name(&self) -> Option<String> {
        self.seen.borrow().as_ref().map(|process| process.status.name.clone())
    }

    /// Is the thread that was followed the only one that the calling OS thread holds? After an attempt that
    /// failed, others may be attached that have not stopped yet: only the end of the OS thread lets them go.
    pub fn alone(&self) -> bool {
        if self.cave.is_some() {
            return true;
        }
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
        let (process, alone) = match self.open() {
            Ok(process) => (process, true),
            Err(Hindrance::Busy(_)) => (Process::open(self.pid, &Options::default())?, false),
            Err(Hindrance::Failed(error)) => return Err(error),
        };
        let ids: Vec<_> = process.modules.iter().map(|m| m.build_id(&process.memory)).collect();
        let is = |target: &TargetId| {
            let by_id = target.build_id.is_some() && ids.contains(&target.build_id);
            by_id || (target.build_id.is_none() && process.maps_code(target))
        };
        let mapped = targets.iter().enumerate().filter(|(_, t)| is(t)).map(|(i, _)| i).collect();
        self.keep(process, alone);
        Ok(mapped)
    }

    /// Brings `patch` into force, in the place of `older` versions of it. See [`crate::replace`].
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub fn apply(
        &self,
        patch: &LoadedPatch,
        older: &[Uuid],
        options: &Options,
    ) -> Result<Outcome, ProcessError> {
        let mut process = match self.open() {
            Ok(process) => process,
            Err(hindrance) => return Outcome::of(Err(hindrance)),
        };
        let outcome = Outcome::of(apply_here(&mut process, patch, older, options))?;
        self.changed.set(true);
        // While one waits for another thread of the process, that may do anything.
        self.keep(process, !matches!(outcome, Outcome::Busy(_)));
        Ok(outcome)
    }
}

impl Drop for HeldProcess<'_> {
    fn drop(&mut self) {
        self.follower.release();
    }
}

impl Process {
    fn maps_code(&self, target: &TargetId) -> bool {
        use crate::engine::target::identity::matches;
        let real = self.modules.iter().filter(|m| m.path != "[vdso]");
        real.into_iter().any(|m| matches(target, m, &self.memory, self.view, &self.maps))
    }
}
