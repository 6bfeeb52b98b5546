//! What `/proc/PID/stat` and `/proc/PID/status` say (proc_pid_stat(5), proc_pid_status(5)).

use super::{
    maps,
    procfile::{self, gone_or},
};
use crate::{ProcessError, arch::SHADOW_STACK};
use std::fs;

/// The fields of `/proc/…/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X` …
    pub state: u8,
    /// Number of threads.
    pub threads: u32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Is it a thread of the kernel?
    pub kernel: bool,
}

/// `PF_KTHREAD` among the flags of a thread (linux/sched.h).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// When a process started, in clock ticks since boot.
///
/// # Errors
/// [`ProcessError::Gone`].
pub fn start_time(pid: i32) -> Result<u64, ProcessError> {
    Ok(process(pid)?.start_time)
}

/// Reads `/proc/PID/stat`.
pub(crate) fn process(pid: i32) -> Result<Stat, ProcessError> {
    read_stat(&format!("/proc/{pid}/stat"))
}

/// The thread under whose id `/proc` shows the memory of a process: the first one, or another where the first
/// has ended and the others go on (`/proc/TID` exists though it is not listed).
pub(crate) fn view(pid: i32) -> Result<i32, ProcessError> {
    view_of(pid, &process(pid)?)
}

/// As [`view`], for a process whose `stat` has been read.
pub(crate) fn view_of(pid: i32, stat: &Stat) -> Result<i32, ProcessError> {
    if stat.state != b'Z' {
        return Ok(pid);
    }
    let lives = |tid: &i32| thread(pid, *tid).is_ok_and(|s| !matches!(s.state, b'Z' | b'X'));
    threads(pid)?.into_iter().find(lives).ok_or(ProcessError::Zombie)
}

/// Is it a thread of the kernel, or has it ended? Everybody may know that.
pub(crate) fn has_no_program(pid: i32) -> bool {
    match process(pid) {
        Ok(stat) => stat.kernel || matches!(view_of(pid, &stat), Err(ProcessError::Zombie)),
        Err(error) => matches!(error, ProcessError::Gone),
    }
}

/// The error for a process that is gone or about to be: it has no thread left, or no memory, or has been
/// killed.
pub(crate) fn ending(pid: i32) -> Option<ProcessError> {
    let view = match view(pid) {
        Ok(view) => view,
        Err(error @ (ProcessError::Gone | ProcessError::Zombie)) => return Some(error),
        Err(_) => return None,
    };
    let killed = status(view).is_ok_and(|s| s.killed);
    (killed || maps::read(view).is_ok_and(|m| m.is_empty())).then_some(ProcessError::Gone)
}

/// Reads `/proc/PID/task/TID/stat`.
pub(crate) fn thread(pid: i32, tid: i32) -> Result<Stat, ProcessError> {
    read_stat(&format!("/proc/{pid}/task/{tid}/stat"))
}

fn read_stat(path: &str) -> Result<Stat, ProcessError> {
    let bytes = procfile::read_one(path).map_err(|e| gone_or(e, path))?;
    parse_stat(&String::from_utf8_lossy(&bytes)).ok_or(ProcessError::Gone)
}

/// The command name, in parentheses, may hold anything, also spaces and parentheses: fields count from the
/// last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    let threads = fields.nth(10)?.parse().ok()?;
    let kernel = flags & KERNEL_THREAD != 0;
    Some(Stat { state, threads, start_time: fields.nth(1)?.parse().ok()?, kernel })
}

/// The fields of `/proc/PID/status` that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Name of the thread, as it has chosen it.
    pub name: String,
    /// Its id as it knows it itself, in the innermost of its pid namespaces; 0 where the kernel does not
    /// tell.
    pub own_id: i32,
    /// Pid of the parent.
    pub parent: i32,
    /// Pid of the tracer, 0 if none.
    pub tracer: i32,
    /// Does a seccomp filter (or strict mode) act?
    pub seccomp: bool,
    /// Is a user shadow stack on ?
    pub shadow_stack: bool,
    /// State letter.
    pub state: u8,
    /// Is a `SIGKILL` on its way to the thread, or to the whole process?
    pub killed: bool,
}

impl Status {
    /// The id by which thread `tid` knows itself, in its own PID namespace. This is its status.
    pub(crate) fn own_id_of(&self, tid: i32) -> i32 {
        if self.own_id == 0 { tid } else { self.own_id }
    }
}

/// Reads `/proc/PID/status`.
pub(crate) fn status(pid: i32) -> Result<Status, ProcessError> {
    let path = format!("/proc/{pid}/status");
    let bytes = procfile::read_one(&path).map_err(|e| gone_or(e, &path))?;
    Ok(parse_status(&String::from_utf8_lossy(&bytes)))
}

fn parse_status(text: &str) -> Status {
    let mut status = Status::default();
    for (key, value) in text.lines().filter_map(|l| l.split_once(':')) {
        let value = value.trim();
        match key {
            "Name" => value.clone_into(&mut status.name),
            "PPid" => status.parent = value.parse().unwrap_or(0),
            "NSpid" => {
                status.own_id =
                    value.split_ascii_whitespace().last().and_then(|id| id.parse().ok()).unwrap_or(0);
            }
            "TracerPid" => status.tracer = value.parse().unwrap_or(0),
            "Seccomp" => status.seccomp = value != "0",
            _ if key == SHADOW_STACK.0 => status.shadow_stack = value.split(' ').any(|f| f == SHADOW_STACK.1),
            "SigPnd" | "ShdPnd" => {
                let pending = u64::from_str_radix(value, 16).unwrap_or(0);
                status.killed |= pending & 1 << (libc::SIGKILL - 1) != 0;
            }
            "State" => status.state = value.bytes().next().unwrap_or(b'?'),
            _ => {}
        }
    }
    status
}

/// Is the process, which seems to sleep, kept from running by its control group (`cgroup.freeze`)? There a
/// thread sleeps on its way back to user mode, where none sleeps otherwise. (One that the older freezer keeps
/// sleeps uninterruptibly.)
pub(crate) fn is_frozen(pid: i32) -> bool {
    let place = procfile::read_one(&format!("/proc/{pid}/wchan"));
    place.is_ok_and(|p| p.starts_with(b"do_freezer_trap") || p.starts_with(b"get_signal"))
}

/// The threads of a process.
pub(crate) fn threads(pid: i32) -> Result<Vec<i32>, ProcessError> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).map_err(|e| gone_or(e, &path))?;
    Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_command_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let stat = parse_stat(&format!("42 (a) R (b) {fields}")).unwrap();
        assert_eq!(stat, Stat { state: b'S', threads: 17, start_time: 4711, kernel: false });
        let kernel =
            parse_stat("2 (kthreadd) S 0 0 0 0 -1 2129984 7 8 9 10 11 12 13 14 15 1 17 18 20").unwrap();
        assert!(kernel.kernel);
        assert_eq!(parse_stat("42 (a"), None);
    }

    #[test]
    fn status_fields() {
        let lines = [
            "Name:\ta b",
            "State:\tT (stopped)",
            "NSpid:\t4711\t12\t3",
            "PPid:\t5",
            "TracerPid:\t7",
            "SigPnd:\t0000000000000100",
            "ShdPnd:\t0000000000000000",
            "Seccomp:\t2",
            &format!("{}:\tother {} more ", SHADOW_STACK.0, SHADOW_STACK.1),
        ];
        let status = parse_status(&lines.join("\n"));
        assert_eq!(
            status,
            Status {
                name: "a b".into(),
                own_id: 3,
                parent: 5,
                tracer: 7,
                seccomp: true,
                shadow_stack: true,
                state: b'T',
                killed: true
            }
        );
    }

    #[test]
    fn own_threads() {
        assert!(threads(i32::try_from(std::process::id()).unwrap()).unwrap().len() >= 2);
    }
}
