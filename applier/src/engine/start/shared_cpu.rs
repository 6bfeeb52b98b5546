//! A worker and the thread whose start it follows, on one processor.
//!
//! The two run in turns. On two processors each turn begins with waking the other one, which takes longer
//! than most of what is done in a turn. So while there is a processor for everybody who wants one, both are
//! kept to that of the worker.
//!
//! What this takes from the thread is given back before the program runs. A worker notes it in `/run/upatch`
//! before it takes it, for the next service, should this one be killed.

use super::pin::{Note, give_back, is_whole};
use crate::sys::wait;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use std::{fs::File, io, num::NonZero, os::unix::fs::FileExt, path::Path, thread};

/// Where a worker of this program sits.
#[derive(Debug)]
pub(crate) struct WorkerCpu {
    note: Note,
    /// Where it may run.
    mask: CpuSet,
    /// Are these all that there are?
    whole: bool,
    /// How many threads run at once.
    count: usize,
    /// `/proc/loadavg`.
    load: File,
}

impl WorkerCpu {
    /// For the calling thread, whose id is `worker`. Notes are kept in the directory `notes`.
    ///
    /// # Errors
    /// No notes can be kept.
    pub(crate) fn take(worker: i32, notes: &Path) -> io::Result<Self> {
        let note = Note::open(notes, worker)?;
        let mask = sched_getaffinity(Pid::from_raw(0))?;
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self { note, mask, whole: is_whole(&mask), count, load: File::open("/proc/loadavg")? })
    }

    /// Keeps thread `tid`, which sleeps, and the calling worker to the processor that the worker is on.
    /// `None` where others want it too, or where there is no other one anyway.
    pub(crate) fn share(&self, tid: i32) -> Option<SharedCpu<'_>> {
        let free = self.count > 1 && self.running()? <= self.count;
        if free { self.keep(tid) } else { None }
    }

    fn keep(&self, tid: i32) -> Option<SharedCpu<'_>> {
        // Another one has the id of the first one when it has executed a program, and its own is gone.
        wait::send(tid, tid, 0).ok()?;
        let here = sched_getcpu().ok()?;
        let mask = sched_getaffinity(Pid::from_raw(tid)).ok()?;
        if mask.is_set(here) != Ok(true) {
            return None;
        }
        let mut one = CpuSet::new();
        one.set(here).ok()?;
        self.note.write(tid, here, &mask).ok()?;
        // Dropping it puts back whatever was done.
        let shared = SharedCpu { cpu: self, tid, mask };
        sched_setaffinity(Pid::from_raw(0), &one).ok()?;
        sched_setaffinity(Pid::from_raw(tid), &one).ok()?;
        Some(shared)
    }

    /// How many threads of the machine run or want to (proc_loadavg(5), before the slash).
    fn running(&self) -> Option<usize> {
        let mut text = [0; 64];
        let len = self.load.read_at(&mut text, 0).ok()?;
        let text = str::from_utf8(text.get(..len)?).ok()?;
        text.split_ascii_whitespace().nth(3)?.split_once('/')?.0.parse().ok()
    }
}

/// A thread that shares the processor with a worker. Dropping gives both back what they had.
#[derive(Debug)]
pub(crate) struct SharedCpu<'a> {
    cpu: &'a WorkerCpu,
    tid: i32,
    mask: CpuSet,
}

impl Drop for SharedCpu<'_> {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let whole = self.cpu.whole && self.mask == self.cpu.mask;
        let _ = give_back(self.tid, &self.mask, whole);
        let _ = sched_setaffinity(Pid::from_raw(0), &self.cpu.mask);
        self.cpu.note.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::start::unpin_all, sys::tracee};
    use std::process::Command;

    fn allowed(tid: i32) -> CpuSet {
        sched_getaffinity(Pid::from_raw(tid)).unwrap()
    }

    fn count(tid: i32) -> usize {
        (0..CpuSet::count()).filter(|cpu| allowed(tid).is_set(*cpu) == Ok(true)).count()
    }

    #[test]
    fn one_processor_for_both_until_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("notes");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let tid = i32::try_from(child.id()).unwrap();
        let own = tracee::own_tid();
        let before = (count(tid), count(own));
        let cpu = WorkerCpu::take(own, &notes).unwrap();
        let shared = cpu.keep(tid).unwrap();
        assert_eq!((count(tid), count(own)), (1, 1));
        assert_eq!(allowed(tid), allowed(own));
        drop(shared);
        assert_eq!((count(tid), count(own)), before);
        assert_eq!(unpin_all(&notes), 0);
        // Killed in between.
        let cpu = WorkerCpu::take(own, &notes).unwrap();
        std::mem::forget(cpu.keep(tid).unwrap());
        assert_eq!(count(tid), 1);
        assert_eq!(unpin_all(&notes), 1);
        assert_eq!(count(tid), before.0);
        sched_setaffinity(Pid::from_raw(0), &cpu.mask).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn this_thread_runs() {
        let dir = tempfile::tempdir().unwrap();
        let cpu = WorkerCpu::take(tracee::own_tid(), dir.path()).unwrap();
        assert!(cpu.running().unwrap() >= 1);
    }
}
