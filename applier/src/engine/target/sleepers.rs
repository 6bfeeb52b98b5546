//! When threads that wait in system calls with a timeout shall wake up by themselves.
//!
//! A stop wakes such a thread, and nothing tells how long it had slept. (The scheduler knows when a thread
//! last ran, but on a clock of its own for each processor.) So a call's timeout is counted from when it was
//! first seen; from then on, however often the thread is stopped, it goes on with what is left. Its count of
//! voluntary switches tells whether it has slept on all the while, or, on a busy machine, has not come to it
//! since it was let go.

use super::{
    modules::Module,
    process::Process,
    procfile,
    restart::{self, TimeoutArgument},
    threads::Thread,
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A wait that was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wait {
    /// Number of the system call.
    call: i64,
    /// Address behind it.
    pc: u64,
    /// The argument that its timeout is in, or at.
    argument: u64,
    /// How often the thread had gone to sleep.
    switches: u64,
    /// First seen, where it has not been stopped since.
    seen: Instant,
    /// When it ends, where that is known already.
    end: Option<Instant>,
}

/// Waits of threads that were let go again, by thread.
static KNOWN: Mutex<Option<HashMap<i32, Wait>>> = Mutex::new(None);

/// More waits than this are not remembered for longer than they last.
const MANY: usize = 1024;

/// The threads of a process that wait so.
#[derive(Debug, Default)]
pub(crate) struct Sleepers(Vec<(i32, Wait, Slept)>);

/// Was a thread woken by our stop and by nothing before?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slept {
    NotAskedYet,
    No,
    Yes,
}

impl Sleepers {
    /// Looks the threads `tids` up.
    pub(crate) fn find(process: &Process, tids: &[i32]) -> Self {
        let one = |tid: &i32| {
            let (call, arguments, pc) = waits_in(process.pid, *tid)?;
            // After the call returns, the register of the timeout has another value than before. That matters
            // to nobody if the call is one of the C library's functions, whose callers keep nothing there.
            let place = restart::timeout_argument(call).filter(|_| in_c_library(process, pc))?;
            let argument = *arguments.get(place.index())?;
            let switches = switches(*tid)?;
            let fresh = Wait { call, pc, argument, switches, seen: Instant::now(), end: None };
            let known = with_known(|known| known.get(tid).copied());
            // Made again, the call may have been over without going to sleep, and this be the program's next.
            let same = known.filter(|k| {
                let switches = if is_ours(place) { k.switches } else { switches };
                Wait { seen: k.seen, end: k.end, switches, ..fresh } == *k
            });
            Some((*tid, same.map_or(fresh, |k| Wait { switches, ..k }), Slept::NotAskedYet))
        };
        Self(tids.iter().filter_map(one).collect())
    }

    /// Is it one of them?
    pub(crate) fn holds(&self, tid: i32) -> bool {
        self.0.iter().any(|(t, ..)| *t == tid)
    }

    /// The thread ran on, so it waits in another call now.
    pub(crate) fn forget(&mut self, tid: i32) {
        self.0.retain(|(t, ..)| *t != tid);
    }

    /// With the thread stopped for the first time: has it slept until then?
    pub(crate) fn confirm(&mut self, tid: i32) {
        for (_, wait, slept) in self.0.iter_mut().filter(|(t, _, s)| *t == tid && *s == Slept::NotAskedYet) {
            // Once more: to stop for us.
            let once_more = switches(tid) == Some(wait.switches + 1);
            *slept = if once_more { Slept::Yes } else { Slept::No };
        }
    }

    /// How much of its timeout is left to the thread, which is stopped, if that is known. It is about to be
    /// let go.
    pub(crate) fn left(&self, thread: &Thread, place: TimeoutArgument) -> Option<Duration> {
        let (tid, r) = (&thread.tid, &thread.registers);
        let wait = match self.0.iter().find(|(t, ..)| t == tid) {
            Some((_, wait, slept)) => {
                let known = is_ours(place) && wait.end.is_some();
                Some(*wait).filter(|_| known || *slept == Slept::Yes)
            }
            None => not_asleep_yet(thread, place),
        };
        let wait = wait.filter(|w| r.call_at_hand() == Some((w.call, w.pc)))?;
        let end = match wait.end {
            Some(end) => end,
            None => wait.seen.checked_add(restart::timeout(thread, place)?)?,
        };
        let left = end.saturating_duration_since(Instant::now());
        let argument = restart::argument_for(r, place, left);
        // It goes to sleep once more, in the same call.
        let again = Wait { switches: switches(*tid)? + 1, end: Some(end), argument, ..wait };
        with_known(|known| {
            // The program's own next call could not be told from it.
            if wait.end.is_none() && argument == wait.argument {
                return known.remove(tid);
            }
            if known.len() > MANY {
                known.retain(|_, w| w.end.is_some_and(|end| end > Instant::now()));
            }
            known.insert(*tid, again)
        });
        Some(left)
    }
}

/// The wait of a thread that was let go to make its call again, and had not gone to sleep in it when it was
/// looked up: it has slept since to stop for us, and in that call at most.
fn not_asleep_yet(thread: &Thread, place: TimeoutArgument) -> Option<Wait> {
    let wait = with_known(|known| known.get(&thread.tid).copied())?;
    let same = wait.end.is_some() && thread.registers.argument(place.index()) == wait.argument;
    let switches = switches(thread.tid).filter(|_| same)?;
    (is_ours(place) || (wait.switches..=wait.switches + 1).contains(&switches)).then_some(wait)
}

/// Is a timeout that we have set before known by its argument alone? No program has its own below its stack.
fn is_ours(place: TimeoutArgument) -> bool {
    matches!(place, TimeoutArgument::Timespec(_))
}

fn with_known<T>(work: impl FnOnce(&mut HashMap<i32, Wait>) -> T) -> T {
    work(KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// System call and address of a thread that is blocked.
fn waits_in(pid: i32, tid: i32) -> Option<(i64, Vec<u64>, u64)> {
    let text = procfile::read_one(&format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    parse_syscall(std::str::from_utf8(&text).ok()?)
}

/// `number 0x… ×6 stack-pointer address`; `running` where it is not blocked.
fn parse_syscall(text: &str) -> Option<(i64, Vec<u64>, u64)> {
    let mut words = text.split_ascii_whitespace();
    let call = words.next()?.parse().ok()?;
    let numbers = words.map(|w| u64::from_str_radix(w.strip_prefix("0x")?, 16).ok());
    let mut numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
    let pc = numbers.pop()?;
    numbers.truncate(6);
    Some((call, numbers, pc))
}

fn in_c_library(process: &Process, pc: u64) -> bool {
    let module = process.modules.iter().find(|m| (m.start..m.end).contains(&pc));
    module.is_some_and(Module::is_c_library)
}

/// How often a thread has gone to sleep.
fn switches(tid: i32) -> Option<u64> {
    let text = procfile::read_one(&format!("/proc/{tid}/status")).ok()?;
    let mut lines = std::str::from_utf8(&text).ok()?.lines().rev();
    lines.find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel() {
        let text = "232 0x5 0x7ffd0 0x1 0xffffffff 0x0 0x8 0x7ffd4901a3a8 0x7fb54bce82ad\n";
        let arguments = vec![5, 0x7_ffd0, 1, 0xffff_ffff, 0, 8];
        assert_eq!(parse_syscall(text), Some((232, arguments, 0x7fb5_4bce_82ad)));
        assert_eq!(parse_syscall("running\n"), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(switches(own).is_some());
    }
}
