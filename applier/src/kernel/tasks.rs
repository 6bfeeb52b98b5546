//! Tasks that hold up a transition: which, and in which function they are.

use super::{Debug, Kernel, KernelMessages};
use std::{fs, thread, time::Duration};

/// A task that has not gone over yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its thread id.
    pub tid: i32,
    /// Its name.
    pub comm: String,
    /// What the task does, as far as can be told.
    pub why: Option<String>,
}

/// The kernel tries every second to take more tasks over, and says then what each does.
const ITS_TURN: Duration = Duration::from_millis(1300);

impl Kernel<'_> {
    /// The tasks that have not gone over to the new code (`on`) or back to the old. `functions`: those that
    /// are replaced. Idle tasks are in no list and go by themselves.
    pub(crate) fn holders(&self, on: bool, functions: &[String]) -> Vec<Holder> {
        let mut found = Vec::new();
        for pid in numbers(&self.root.join("proc")) {
            for tid in numbers(&self.root.join(format!("proc/{pid}/task"))) {
                let task = format!("proc/{pid}/task/{tid}");
                // -1: no transition. 0: runs the old code. 1: runs the new code (proc_pid_patch_state(5)).
                if self.line(&format!("{task}/patch_state")).as_deref() != Some(if on { "0" } else { "1" }) {
                    continue;
                }
                let comm = self.line(&format!("{task}/comm")).unwrap_or_else(|| "?".into());
                let comm = comm.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
                let stack = fs::read_to_string(self.root.join(&task).join("stack")).unwrap_or_default();
                let mut frames = stack.lines().filter_map(|l| l.split_once("] ")?.1.split('+').next());
                let frame = frames.find(|name| functions.iter().any(|f| f == name));
                found.push(Holder { tid, comm, why: frame.map(|name| format!("is in {name}")) });
            }
        }
        found
    }

    /// The same, and of those whose stack does not show it, what the kernel says of them when it tries again:
    /// stacks leave out the scheduler's own functions.
    pub(crate) fn holders_in_words(&self, on: bool, functions: &[String]) -> Vec<Holder> {
        let mut found = self.holders(on, functions);
        if found.iter().all(|h| h.why.is_some()) {
            return found;
        }
        let mut messages = KernelMessages::from_now(self.root);
        let debug = Debug::begin(self.root);
        if debug.is_none() {
            return found;
        }
        thread::sleep(ITS_TURN);
        let lines = messages.lines();
        for holder in found.iter_mut().filter(|h| h.why.is_none()) {
            let named = format!("{}:{} ", holder.comm, holder.tid);
            let words = lines.iter().rev().find_map(|line| Some(line.split_once(&named)?.1));
            holder.why = words.map(|words| words.trim_end().into());
        }
        found
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = self.why.as_deref().unwrap_or("has not left the functions yet");
        write!(f, "task {} ({}) {why}", self.tid, self.comm)
    }
}

fn numbers(path: &std::path::Path) -> Vec<i32> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut found: Vec<i32> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    found.sort_unstable();
    found
}
