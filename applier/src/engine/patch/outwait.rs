//! Threads that are in the way when all are stopped run on, while the others stand, until they are out of it.
//!
//! Without that, all threads have to be outside of the changed code at one and the same instant, which those
//! of a busy server hardly ever are. No breakpoint is needed: a thread that serves requests makes system
//! calls outside of what is changed, and one that computes is looked at again after a moment. When we are
//! killed meanwhile, the kernel lets all of them go as they are.

use super::{
    quiesce::{self, BusyThread, ExitPoint, Zone},
    suspended,
};
use crate::{
    Busy, Options, ProcessError,
    engine::{
        Hindrance, load,
        target::{
            frames::Tables,
            maps, modules,
            process::Process,
            switches::Stacks,
            threads::{StoppedThreads, Thread},
        },
    },
};
use std::time::{Duration, Instant};

/// First and longest time for which a thread that makes no system call runs on.
const SLICE: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(1));

/// The threads of a process on their way to where no changed code is on any stack.
#[derive(Debug)]
pub(super) struct Quiescence<'a> {
    process: &'a mut Process,
    held: StoppedThreads,
    tables: &'a mut Tables,
    zones: &'a [Zone],
    lazy: bool,
    stacks: Stacks,
}

/// Where a thread is. One that is there again after it could run is blocked in a system call.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ThreadPosition {
    pc: u64,
    sp: u64,
    call: Option<i64>,
}

impl ThreadPosition {
    fn of(thread: &Thread) -> Self {
        let r = &thread.registers;
        Self { pc: r.pc(), sp: r.sp(), call: r.call() }
    }

    fn is_call(self) -> bool {
        self.call.is_some()
    }
}

impl<'a> Quiescence<'a> {
    /// All threads are stopped. Unwind tables that are not among `tables` are read when a stack leads to
    /// their module. `stacks`: what stacks there may be besides the threads'.
    pub(super) fn new(
        process: &'a mut Process,
        held: StoppedThreads,
        tables: &'a mut Tables,
        zones: &'a [Zone],
        stacks: Stacks,
        options: &Options,
    ) -> Self {
        Self { process, held, tables, zones, lazy: options.lazy, stacks }
    }

    /// Waits for about `patience` until no thread is in the zones; else the first that is.
    pub(super) fn reach(&mut self, patience: Duration) -> Result<Option<Busy>, ProcessError> {
        let until = Instant::now() + patience;
        let trace_options = load::trace_options(self.process);
        let mut busy = self.busy(None)?;
        if busy.is_empty() {
            return self.suspended();
        }
        let mut slice = SLICE.0;
        while !busy.is_empty() && Instant::now() < until {
            let mut still = Vec::new();
            for one in busy {
                let Some(before) = self.thread(one.tid).filter(|t| !t.suspended).map(ThreadPosition::of)
                else {
                    return Ok(Some(one));
                };
                match self.held.advance(one.tid, trace_options, slice) {
                    Ok(_) => {}
                    Err(Hindrance::Busy(stuck)) => return Ok(Some(stuck)),
                    Err(Hindrance::Failed(error)) => return Err(error),
                }
                let now = self.busy(Some(&[one.tid]))?;
                let stays =
                    self.thread(one.tid).is_some_and(|t| before.is_call() && ThreadPosition::of(t) == before);
                if stays && !now.is_empty() {
                    return Ok(now.into_iter().next());
                }
                still.extend(now);
            }
            // Threads that the running ones have started.
            let fresh = match self.held.rest(self.process, trace_options) {
                Ok(fresh) => fresh,
                Err(Hindrance::Busy(stuck)) => return Ok(Some(stuck)),
                Err(Hindrance::Failed(error)) => return Err(error),
            };
            if !fresh.is_empty() {
                still.extend(self.busy(Some(&fresh))?);
            }
            busy = still;
            slice = (slice * 2).min(SLICE.1);
        }
        // One of them may have executed another program.
        let Some(any) = self.held.threads().first() else { return Err(self.process.ended()) };
        self.process.is_as_seen(any.tid)?;
        match busy.into_iter().next() {
            Some(busy) => Ok(Some(busy)),
            None => self.suspended(),
        }
    }

    /// No thread is in the way: a stack that nobody is on may be.
    fn suspended(&mut self) -> Result<Option<Busy>, ProcessError> {
        if self.stacks == Stacks::Own || self.process.held.is_some() {
            return Ok(None);
        }
        self.process.refresh()?;
        Ok(suspended::find(self.process, self.held.threads(), self.tables, self.zones, self.stacks))
    }

    /// The threads that are in the way, with the places where each comes out of it. `None` where that is not
    /// known of all.
    pub(super) fn leaving(&mut self) -> Result<Option<Vec<(i32, ExitPoint)>>, ProcessError> {
        let all = self.in_the_way(None)?;
        let suspended = |tid| self.thread(tid).is_none_or(|t| t.suspended);
        Ok(all.into_iter().map(|o| Some((o.busy.tid, o.exit.filter(|_| !suspended(o.busy.tid))?))).collect())
    }

    /// The threads, all of them where they may be.
    pub(super) fn held(self) -> StoppedThreads {
        self.held
    }

    fn thread(&self, tid: i32) -> Option<&Thread> {
        self.held.threads().iter().find(|t| t.tid == tid)
    }

    fn busy(&mut self, which: Option<&[i32]>) -> Result<Vec<Busy>, ProcessError> {
        Ok(self.in_the_way(which)?.into_iter().map(|o| o.busy).collect())
    }

    /// The threads among `which` (or among all) that are in the zones.
    fn in_the_way(&mut self, which: Option<&[i32]>) -> Result<Vec<BusyThread>, ProcessError> {
        let wanted = |t: &&Thread| which.is_none_or(|w| w.contains(&t.tid));
        let threads: Vec<&Thread> = self.held.threads().iter().filter(wanted).collect();
        let (process, tables) = (&mut *self.process, &mut *self.tables);
        let known = |address: u64| maps::at(&process.maps, address).is_some();
        if !threads.iter().all(|t| known(t.registers.pc()) && known(t.registers.sp())) {
            process.refresh()?;
            process.modules = modules::list(&process.maps, &process.memory);
        }
        Ok(quiesce::find_busy(process, &threads, tables, self.zones, self.lazy))
    }
}
