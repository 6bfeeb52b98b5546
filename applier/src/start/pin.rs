//! Attaching to a thread before its new program runs, where the kernel lets nobody attach until `execve` is nearly done.
//!
//! The worker then waits for a lock that the thread gives up in the middle of `execve`, and has to be at it before the thread is through.
//! Both are kept to one processor for that time, on which the worker, being urgent, runs first: the thread cannot come to
//! user mode before the worker has attached and gone to sleep again.
//!
//! What this takes from the thread is given back before it runs its first instruction. Whoever is killed in between leaves a note in
//! `/run/upatch`, from which the next service gives it back.

use crate::{sys::tracee, target::status};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A thread kept to one processor together with a worker. Dropping gives both back what they had.
#[derive(Debug)]
pub struct Pin {
    tid: i32,
    worker: i32,
    mask: CpuSet,
    workers_mask: CpuSet,
    note: PathBuf,
}

fn pid(tid: i32) -> Pid {
    Pid::from_raw(tid)
}

impl Pin {
    /// Keeps thread `tid`, which is held in the kernel, and thread `worker` of this program to one processor. `None` where that cannot be
    /// done, or would not help. Notes are kept in the directory `notes`.
    pub fn set(tid: i32, worker: i32, notes: &Path) -> Option<Self> {
        let outranks = tracee::outrank(worker, tid).unwrap_or(false);
        if !outranks {
            return None;
        }
        let mask = sched_getaffinity(pid(tid)).ok()?;
        let workers_mask = sched_getaffinity(pid(worker)).ok()?;
        let both = |cpu: &usize| mask.is_set(*cpu) == Ok(true) && workers_mask.is_set(*cpu) == Ok(true);
        // Where it slept it wakes up.
        let last = processor(tid).filter(both);
        let mut one = CpuSet::new();
        one.set(last.or_else(|| (0..CpuSet::count()).find(both))?).ok()?;
        let note = notes.join(tid.to_string());
        write_note(&note, tid, &mask).ok()?;
        let pin = Self { tid, worker, mask, workers_mask, note };
        // Dropping `pin` puts back whatever was done.
        sched_setaffinity(pid(worker), &one).ok()?;
        sched_setaffinity(pid(tid), &one).ok()?;
        Some(pin)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = give_back(self.tid, &self.mask);
        let _ = sched_setaffinity(pid(self.worker), &self.workers_mask);
        tracee::be_urgent_again(self.worker);
        let _ = fs::remove_file(&self.note);
    }
}

/// The processor on which a thread ran last (proc_pid_stat(5), field 39).
fn processor(tid: i32) -> Option<usize> {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
    stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().nth(36)?.parse().ok()
}

/// All processors that there are: asked for so that those added later count too.
fn give_back(tid: i32, mask: &CpuSet) -> nix::Result<()> {
    let count = (0..CpuSet::count()).filter(|cpu| mask.is_set(*cpu) == Ok(true)).count();
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    let mut mask = *mask;
    if online.is_some_and(|online| usize::try_from(online) == Ok(count)) {
        (0..CpuSet::count()).try_for_each(|cpu| mask.set(cpu))?;
    }
    sched_setaffinity(pid(tid), &mask)
}

/// The thread's start time, then the processors.
fn write_note(path: &Path, tid: i32, mask: &CpuSet) -> io::Result<()> {
    let start = crate::start_time(tid).map_err(io::Error::other)?;
    let cpus = (0..CpuSet::count()).filter(|cpu| mask.is_set(*cpu) == Ok(true));
    let text = cpus.fold(start.to_string(), |text, cpu| format!("{text} {cpu}"));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)
}

/// Gives back what a killed service has left with threads, by its notes in `notes`. Tells with how many.
pub fn unpin_all(notes: &Path) -> usize {
    let entries = fs::read_dir(notes).into_iter().flatten().filter_map(Result::ok);
    let given = entries.filter(|entry| {
        let given = entry.file_name().to_str().and_then(|t| unpin(t.parse().ok()?, &entry.path()));
        let _ = fs::remove_file(entry.path());
        given.is_some()
    });
    given.count()
}

fn unpin(tid: i32, note: &Path) -> Option<()> {
    let text = fs::read_to_string(note).ok()?;
    let mut numbers = text.split_ascii_whitespace();
    let start = u64::from_str(numbers.next()?).ok()?;
    let mut mask = CpuSet::new();
    numbers.try_for_each(|cpu| mask.set(cpu.parse().ok()?).ok())?;
    // A thread that executes a program takes over the id of the first one, but `/proc` knows it by its own as long as it has that.
    (status::process(tid).ok()?.start_time == start).then_some(())?;
    give_back(tid, &mask).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Sleeper(Child);

    impl Sleeper {
        fn begin() -> (Self, i32) {
            let child = Command::new("sleep").arg("60").spawn().unwrap();
            let tid = i32::try_from(child.id()).unwrap();
            (Self(child), tid)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn count(tid: i32) -> usize {
        let mask = sched_getaffinity(pid(tid)).unwrap();
        (0..CpuSet::count()).filter(|cpu| mask.is_set(*cpu) == Ok(true)).count()
    }

    #[test]
    fn gives_back_what_it_took() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("notes");
        let (_sleeper, tid) = Sleeper::begin();
        let before = count(tid);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if tracee::be_urgent().is_err() {
                    return;
                }
                let own = tracee::own_tid();
                let pin = Pin::set(tid, own, &notes).unwrap();
                assert_eq!((count(tid), count(own)), (1, 1));
                assert!(notes.join(tid.to_string()).exists());
                drop(pin);
                assert_eq!((count(tid), count(own)), (before, before));
                assert_eq!(fs::read_dir(&notes).unwrap().count(), 0);
                // Killed in between.
                std::mem::forget(Pin::set(tid, own, &notes).unwrap());
                assert_eq!(count(tid), 1);
                assert_eq!(unpin_all(&notes), 1);
                assert_eq!((count(tid), fs::read_dir(&notes).unwrap().count()), (before, 0));
            });
        });
    }

    #[test]
    fn who_is_not_urgent_is_not_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let (_sleeper, tid) = Sleeper::begin();
        let before = count(tid);
        assert!(Pin::set(tid, tracee::own_tid(), dir.path()).is_none());
        assert_eq!(count(tid), before);
    }
}
