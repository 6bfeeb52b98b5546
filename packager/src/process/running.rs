//! The programs that run now, to be ended by a signal.

use super::stopped::{is_stopped, locked};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::sync::Mutex;

/// Their process groups.
static GROUPS: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Ends the programs that run now: their groups, and compilers that run in ours.
pub(super) fn end_programs(signal: Signal) {
    for group in locked(&GROUPS).clone() {
        // The group may just have ended; then there is nothing to do.
        let _ = killpg(Pid::from_raw(group), signal);
    }
    for child in children() {
        let _ = kill(child, signal);
    }
}

/// Our own children (proc(5), `/proc/PID/task/TID/children`).
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let ids: Vec<String> =
        lists.flat_map(|l| l.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    ids.iter().filter_map(|id| id.parse().ok()).map(Pid::from_raw).collect()
}

/// A group that is in the list as long as this lives.
pub(super) struct Group(i32);

impl Group {
    /// The groups that these programs lead.
    pub(super) fn enter(leaders: &[u32]) -> Vec<Self> {
        // A number that is none of a process is not one to send signals to.
        let ids = leaders.iter().filter_map(|id| i32::try_from(*id).ok()).filter(|id| *id > 1);
        ids.map(|id| {
            locked(&GROUPS).push(id);
            Self(id)
        })
        .collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if is_stopped() {
            // What the program started may not have ended with it.
            let _ = killpg(Pid::from_raw(self.0), Signal::SIGKILL);
        }
        locked(&GROUPS).retain(|g| *g != self.0);
    }
}
