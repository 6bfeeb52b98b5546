//! Attaching to a thread before its new program runs, where the kernel lets nobody attach until `execve` is
//! nearly done.
//!
//! The worker then waits for a lock that the thread gives up in the middle of `execve`, and has to be at it
//! before the thread is through. Both are kept to one processor for that time, on which the worker, being
//! urgent, runs first: the thread cannot come to user mode before the worker has attached and gone to sleep
//! again.
//!
//! What this takes from the thread is given back before it runs its first instruction. Whoever is killed in
//! between leaves a note in `/run/upatch`, from which the next service gives it back.

use crate::{
    engine::target::{procfile, status},
    sys::{plain, tracee},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

/// A thread kept to one processor together with a worker. Dropping gives both back what they had.
#[derive(Debug)]
pub(crate) struct Pin {
    tid: i32,
    worker: i32,
    mask: CpuSet,
    workers_mask: CpuSet,
    note: Note,
}

fn pid(tid: i32) -> Pid {
    Pid::from_raw(tid)
}

impl Pin {
    /// Keeps thread `tid`, which is held in the kernel, and thread `worker` of this program to one processor.
    /// `None` where that cannot be done, or would not help. Notes are kept in the directory `notes`.
    pub(crate) fn set(tid: i32, worker: i32, notes: &Path) -> Option<Self> {
        let outranks = tracee::outrank(worker, tid).unwrap_or(false);
        if !outranks {
            return None;
        }
        let mask = sched_getaffinity(pid(tid)).ok()?;
        let workers_mask = sched_getaffinity(pid(worker)).ok()?;
        let both = |cpu: &usize| mask.is_set(*cpu) == Ok(true) && workers_mask.is_set(*cpu) == Ok(true);
        // Where it slept it wakes up.
        let last = processor(tid).filter(both);
        let here = last.or_else(|| (0..CpuSet::count()).find(both))?;
        let mut one = CpuSet::new();
        one.set(here).ok()?;
        let note = Note::open(notes, tid).ok()?;
        note.write(tid, here, &mask).ok()?;
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
        let _ = give_back(self.tid, &self.mask, is_whole(&self.mask));
        let _ = sched_setaffinity(pid(self.worker), &self.workers_mask);
        tracee::be_urgent_again(self.worker);
        self.note.clear();
    }
}

/// The processor on which a thread ran last (proc_pid_stat(5), field 39).
fn processor(tid: i32) -> Option<usize> {
    let stat = procfile::text(&format!("/proc/{tid}/stat")).ok()?;
    stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().nth(36)?.parse().ok()
}

/// Are these all processors that there are?
pub(super) fn is_whole(mask: &CpuSet) -> bool {
    let count = (0..CpuSet::count()).filter(|cpu| mask.is_set(*cpu) == Ok(true)).count();
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    online.is_some_and(|online| usize::try_from(online) == Ok(count))
}

/// Gives a thread its processors back. Where it had the `whole` of them, those added later count too.
pub(super) fn give_back(tid: i32, mask: &CpuSet, whole: bool) -> nix::Result<()> {
    let mut mask = *mask;
    if whole {
        (0..CpuSet::count()).try_for_each(|cpu| mask.set(cpu))?;
    }
    sched_setaffinity(pid(tid), &mask)
}

/// The text of a note that is about no thread.
const NOBODY: &[u8] = b"0\n";

/// A note about one thread: its id, when it was written, the processor that it is kept to, and those that it
/// may use.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    file: File,
}

impl Note {
    /// A note in the directory `notes`, by the number of a thread that has one at a time.
    pub(super) fn open(notes: &Path, number: i32) -> io::Result<Self> {
        fs::create_dir_all(notes)?;
        let path = notes.join(number.to_string());
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    /// Writes it, for thread `tid`, which is kept to processor `here` and may use those of `mask`.
    pub(super) fn write(&self, tid: i32, here: usize, mask: &CpuSet) -> io::Result<()> {
        let cpus = (0..CpuSet::count()).filter(|cpu| mask.is_set(*cpu) == Ok(true));
        let text = cpus.fold(format!("{tid} {} {here}", ticks()?), |text, cpu| format!("{text} {cpu}"));
        // Behind the line may be what is left of an earlier one.
        self.file.write_all_at(format!("{text}\n").as_bytes(), 0)
    }

    /// The thread has back what it had.
    pub(super) fn clear(&self) {
        // Left there, it would give the thread back what it has. To cut the file off takes longer on a disk.
        let _ = self.file.write_all_at(NOBODY, 0);
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Another one that is there by then has nothing to say either.
        let _ = fs::remove_file(&self.path);
    }
}

/// Time since boot, as processes' start times are given (proc_pid_stat(5), field 22): in hundredths of a
/// second.
fn ticks() -> io::Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    let (seconds, nanoseconds) = (now.tv_sec().cast_unsigned(), now.tv_nsec().cast_unsigned());
    Ok(seconds * 100 + nanoseconds / 10_000_000)
}

/// Gives back what a killed service has left with threads, by its notes in `notes`. Tells with how many.
pub(crate) fn unpin_all(notes: &Path) -> usize {
    let entries = fs::read_dir(notes).into_iter().flatten().filter_map(Result::ok);
    let given = entries.filter(|entry| {
        let given = unpin(&entry.path());
        let _ = fs::remove_file(entry.path());
        given.is_some()
    });
    given.count()
}

fn unpin(note: &Path) -> Option<()> {
    let text = plain::text(note, 1 << 16).ok()?;
    let mut numbers = text.lines().next()?.split_ascii_whitespace();
    let tid = numbers.next()?.parse().ok().filter(|tid| *tid != 0)?;
    let written = u64::from_str(numbers.next()?).ok()?;
    let (mut one, mut mask) = (CpuSet::new(), CpuSet::new());
    one.set(numbers.next()?.parse().ok()?).ok()?;
    numbers.try_for_each(|cpu| mask.set(cpu.parse().ok()?).ok())?;
    // A thread that began later may have the id of one that is gone. A thread that executes a program takes
    // over the id of its process's first thread, but `/proc` shows it under its own until it has that.
    (status::process(tid).ok()?.start_time <= written).then_some(())?;
    let whole = is_whole(&mask);
    // Threads that it has started meanwhile have inherited its processors. What a thread has chosen for
    // itself stays.
    let threads = status::threads(tid).ok()?.into_iter();
    let given = threads.filter(|t| {
        sched_getaffinity(pid(*t)).is_ok_and(|now| now == one) && give_back(*t, &mask, whole).is_ok()
    });
    (given.count() > 0).then_some(())
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
                // The program has chosen others for itself since then.
                std::mem::forget(Pin::set(tid, own, &notes).unwrap());
                let chosen = sched_getaffinity(pid(0)).unwrap();
                let other = (0..CpuSet::count()).find(|c| chosen.is_set(*c) != Ok(true)).unwrap();
                let mut all = chosen;
                all.set(other).unwrap();
                sched_setaffinity(pid(tid), &all).unwrap();
                let count_chosen = count(tid);
                assert_eq!(unpin_all(&notes), usize::from(count_chosen == 1));
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
