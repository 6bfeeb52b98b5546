//! When threads that wait in system calls with a timeout shall wake up by themselves.
//!
//! A stop wakes such a thread, and nothing tells how long it had slept. (The scheduler knows when a thread last ran, but on a
//! clock of its own for each processor.) So a call's timeout is counted from when it was first seen; from then on, however
//! often the thread is stopped, it goes on with what is left. Its count of voluntary switches tells whether it has slept on
//! all the while.

use super::{
    process::Process,
    procfile,
    restart::{self, Place},
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
            let (call, pc) = waits_in(process.pid, *tid)?;
            // After the call returns, the register of the timeout has another value than before. That matters to nobody if
            // the call is one of the C library's functions, whose callers keep nothing there (psABI §3.2.1).
            restart::place(call).filter(|_| in_c_library(process, pc))?;
            let switches = switches(*tid)?;
            let fresh = Wait { call, pc, switches, seen: Instant::now(), end: None };
            let known = with_known(|known| known.get(tid).copied());
            let same = known.filter(|k| (k.call, k.pc, k.switches) == (call, pc, switches));
            Some((*tid, same.unwrap_or(fresh), Slept::NotAskedYet))
        };
        Self(tids.iter().filter_map(one).collect())
    }

    /// Is it one of them?
    pub(crate) fn holds(&self, tid: i32) -> bool {
        self.0.iter().any(|(t, ..)| *t == tid)
    }

    /// It ran on: what it waits in now is something else.
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

    /// How much of its timeout is left to the thread, which is stopped, if that is known. It is about to be let go.
    pub(crate) fn left(&self, thread: &Thread, place: Place) -> Option<Duration> {
        let (tid, wait, slept) = self.0.iter().find(|(t, ..)| *t == thread.tid)?;
        let r = &thread.registers;
        if *slept != Slept::Yes || (r.orig_rax.cast_signed(), r.rip) != (wait.call, wait.pc) {
            return None;
        }
        let end = match wait.end {
            Some(end) => end,
            None => wait.seen.checked_add(restart::timeout(thread, place)?)?,
        };
        // It goes to sleep once more, in the same call.
        let again = Wait { switches: switches(*tid)? + 1, end: Some(end), ..*wait };
        with_known(|known| {
            if known.len() > MANY {
                known.retain(|_, w| w.end.is_some_and(|end| end > Instant::now()));
            }
            known.insert(*tid, again)
        });
        Some(end.saturating_duration_since(Instant::now()))
    }
}

fn with_known<T>(work: impl FnOnce(&mut HashMap<i32, Wait>) -> T) -> T {
    work(KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// System call and address of a thread that is blocked.
fn waits_in(pid: i32, tid: i32) -> Option<(i64, u64)> {
    let text = procfile::read_one(&format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    parse_syscall(std::str::from_utf8(&text).ok()?)
}

/// `number 0x… ×6 stack-pointer address`; `running` where it is not blocked.
fn parse_syscall(text: &str) -> Option<(i64, u64)> {
    let mut words = text.split_ascii_whitespace();
    let call = words.next()?.parse().ok()?;
    let pc = words.nth(7)?.strip_prefix("0x")?;
    Some((call, u64::from_str_radix(pc, 16).ok()?))
}

fn in_c_library(process: &Process, pc: u64) -> bool {
    let module = process.modules.iter().find(|m| (m.start..m.end).contains(&pc));
    module.is_some_and(|m| {
        let name = m.name();
        name.starts_with("libc.so") || name.starts_with("libc-") || name.starts_with("ld-musl")
    })
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
        assert_eq!(parse_syscall(text), Some((232, 0x7fb5_4bce_82ad)));
        assert_eq!(parse_syscall("running\n"), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(switches(own).is_some());
    }
}
