//! A library from `open` to the point before its constructors.

use super::{
    follow::{FollowError, Follower, StartObserver},
    held::HeldProcess,
    program, relocated,
};
use crate::{
    Options,
    arch::calls::OPENING,
    engine::target::{auxv, linkmap, maps, process::Process, procfile, status},
};
use std::{fs, thread, time::Duration};

/// How often and after which pause a thread is looked at again that is not asleep yet.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_micros(100);

/// Is thread `tid`, which is held in the kernel in `open`, the dynamic loader at work? Whoever else reads the
/// file is of no interest.
pub fn loads(tid: i32) -> bool {
    caller(tid).is_some_and(|pc| {
        let loader = auxv::read(tid).ok().map(|a| a.loader).filter(|l| *l != 0);
        let Some((loader, maps)) = loader.and_then(|l| Some((l, maps::read(tid).ok()?))) else {
            return false;
        };
        match (maps::at(&maps, pc), maps::at(&maps, loader)) {
            (Some(code), Some(first)) => code.same_file(first),
            _ => false,
        }
    })
}

/// The process that thread `tid` belongs to.
pub(crate) fn process_of(tid: i32) -> Option<i32> {
    let status = procfile::text(&format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// Where the thread calls `open` from (proc_pid_syscall(5): number, six arguments, stack pointer, instruction
/// pointer).
fn caller(tid: i32) -> Option<u64> {
    // The event can be here before its thread has gone to sleep.
    let text = (0..TRIES).find_map(|_| {
        let text = fs::read_to_string(format!("/proc/{tid}/syscall")).ok()?;
        if text.starts_with("running") {
            thread::sleep(PAUSE);
            return None;
        }
        Some(text)
    })?;
    let mut fields = text.split_ascii_whitespace();
    let number: i64 = fields.next()?.parse().ok()?;
    if !OPENING.contains(&number) {
        return None;
    }
    u64::from_str_radix(fields.nth(7)?.strip_prefix("0x")?, 16).ok()
}

/// Follows thread `tid`, which is held in the kernel while it opens a library, to the point where the library
/// and what came with it are relocated and have run nothing yet. `allow` lets it go on its way, and is called
/// once the thread is seized.
///
/// Where this fails, the calling OS thread has to end: that lets the thread go.
///
/// # Errors
/// See [`FollowError`].
pub fn opened<'a>(
    tid: i32,
    pid: i32,
    allow: impl FnOnce() -> bool,
    observer: &'a dyn StartObserver,
) -> Result<HeldProcess<'a>, FollowError> {
    let seized = Follower::seize(tid, observer).and_then(|f| f.interrupt().map(|()| f));
    allow();
    let mut follower = seized?;
    follower.await_interrupt()?;
    let regs = follower.registers()?;
    let process = Process::open(pid, &Options::default())?;
    let starting = linkmap::program(&process).is_some_and(|p| !relocated::is(&process, p))
        && status::threads(pid).is_ok_and(|t| t.len() == 1);
    if starting {
        return program::to_end_of_loading(follower, process, false);
    }
    drop(process);
    match regs.result() {
        fd if fd >= 0 => dlopen(&mut follower, pid, fd.cast_unsigned())?,
        _ => {
            follower.release();
            return Err(FollowError::NotLoaded);
        }
    }
    Ok(HeldProcess::new(pid, follower))
}

const PROT_EXEC: u64 = 4;

/// From the exit of `open` to the point where all that was loaded is relocated.
fn dlopen(follower: &mut Follower<'_>, pid: i32, fd: u64) -> Result<(), FollowError> {
    let mut mapped = false;
    loop {
        let regs = follower.run_to_syscall()?;
        let call = regs.call();
        let done = regs.result() >= 0;
        if call == Some(libc::SYS_close) && regs.argument(0) == fd && !mapped {
            // It was only looked at, or is loaded already.
            follower.release();
            return Err(FollowError::NotLoaded);
        }
        if call == Some(libc::SYS_mmap) && regs.argument(4) == fd && regs.argument(2) & PROT_EXEC != 0 && done
        {
            mapped = true;
        } else if mapped && call != Some(libc::SYS_mmap) && done {
            let process = Process::open(pid, &Options::default())?;
            if relocated::all(&process, 0) {
                return follower.enter_event_stop();
            }
        }
    }
}
