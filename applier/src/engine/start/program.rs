//! A program from `execve` to the point before its code.

use super::{
    follow::{FollowError, Follower, StartObserver},
    held::HeldProcess,
    relocated,
    rendezvous::Rendezvous,
};
use crate::{
    Options,
    arch::calls,
    engine::target::{loader, process::Process},
    sys::ptrace,
};
use std::fs;

/// System calls after which a static program is taken for one that sets no thread pointer.
const ENOUGH: usize = 64;
/// How often the rendezvous is passed at most: once before and once after the libraries, and once more for
/// good measure.
const PASSES: usize = 8;

/// Follows thread `tid`, which is held in the kernel on its way into `execve`, to the point where the new
/// program is mapped and relocated and has run nothing yet. `allow` lets it go on its way, and is called once
/// the thread is seized; it tells whether it was still held then.
///
/// Where the kernel lets nobody attach before `execve` is past a certain point, it may have run on for a
/// moment. What it is found at is then as good a point as any other at which patches go into running
/// processes, if it is not still being loaded.
///
/// Where this fails, the calling OS thread has to end: that lets the thread go.
///
/// # Errors
/// See [`FollowError`].
pub fn executed<'a>(
    tid: i32,
    allow: impl FnOnce() -> bool,
    observer: &'a dyn StartObserver,
) -> Result<HeldProcess<'a>, FollowError> {
    let follower = Follower::seize(tid, observer);
    let was_held = allow();
    let mut follower = follower?;
    if !was_held {
        follower.interrupt()?;
    }
    observer.attached();
    let executed = follower.await_exec(!was_held)?;
    if executed {
        // A thread that executes a program becomes the first of its process, and the only one.
        let (process, alone) = Process::begin(follower.tid)?;
        return start(follower, process, alone);
    }
    let pid = super::process_of(tid).ok_or(FollowError::Gone)?;
    let process = Process::open(pid, &Options::default())?;
    // Its first instruction is as good as the end of `execve`.
    let begun = follower.registers()?.pc() != process.auxv.entry;
    if begun && (process.auxv.loader == 0 || has_loaded(&process)) {
        return Ok(HeldProcess::new(pid, follower));
    }
    start(follower, process, false)
}

/// Is thread `tid` in `execve`? Once it is not, no program will come of it.
pub(crate) fn executing(tid: i32) -> bool {
    // A thread that is not the first of its process loses its id on the way. While it runs in the kernel its
    // system call is not shown.
    fs::read_to_string(format!("/proc/{tid}/syscall")).map_or(true, |text| {
        let number = text.split_ascii_whitespace().next().unwrap_or_default();
        let is = |call: i64| number == call.to_string();
        number == "running" || is(libc::SYS_execve) || is(libc::SYS_execveat)
    })
}

fn start(
    mut follower: Follower<'_>,
    mut process: Process,
    alone: bool,
) -> Result<HeldProcess<'_>, FollowError> {
    if process.auxv.loader != 0 {
        return to_end_of_loading(follower, process, alone);
    }
    follow_static(&mut follower)?;
    follower.enter_event_stop()?;
    process.look_again()?;
    Ok(HeldProcess::of(follower, process, alone, None)?)
}

fn follow_static(follower: &mut Follower<'_>) -> Result<(), FollowError> {
    for _ in 0..2 * ENOUGH {
        if calls::has_set_thread_pointer(&follower.run_to_syscall()?) {
            return Ok(());
        }
    }
    Ok(())
}

/// From a stop before or in the dynamic loader to the one at which it has finished. `alone`: nobody else of
/// us is at the process.
pub(super) fn to_end_of_loading(
    mut follower: Follower<'_>,
    mut process: Process,
    alone: bool,
) -> Result<HeldProcess<'_>, FollowError> {
    // A blocked signal would stay behind; a filter might kill for the system call.
    let tid = follower.tid;
    let quiet = |signal: i32| ptrace::signal_mask(tid).is_ok_and(|m| m >> (signal - 1) & 1 == 0);
    let usable = !process.status.seccomp && quiet(super::follow::MARK);
    let rendezvous = process.loader().filter(|_| usable).and_then(|l| Rendezvous::find(&process, l));
    let at = follower.registers()?.pc();
    let Some(mut rendezvous) = rendezvous.filter(|r| !r.contains(at)) else {
        return by_syscalls(follower, process, alone);
    };
    rendezvous.set(&process, process.status.own_id_of(tid))?;
    let passed = pass(&mut follower, &mut process, rendezvous);
    if passed.is_err() {
        // Fails where the process has ended, which `passed` says.
        let _ = rendezvous.disarm(&process);
    }
    if passed? {
        // A killed tracer between the two leaves a thread that sends itself the signal once more.
        follower.jump(rendezvous.address)?;
        rendezvous.clear(&process)?;
        return Ok(HeldProcess::of(follower, process, alone, Some(rendezvous.cave))?);
    }
    rendezvous.disarm(&process)?;
    by_syscalls(follower, process, alone)
}

/// Lets the thread pass the rendezvous until the loader has finished. Tells whether it has.
fn pass(
    follower: &mut Follower<'_>,
    process: &mut Process,
    rendezvous: Rendezvous,
) -> Result<bool, FollowError> {
    for _ in 0..PASSES {
        follower.run_to_mark(|regs| rendezvous.sent(regs))?;
        process.look_again()?;
        if has_loaded(process) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn by_syscalls(
    mut follower: Follower<'_>,
    mut process: Process,
    alone: bool,
) -> Result<HeldProcess<'_>, FollowError> {
    loop {
        follower.run_to_syscall()?;
        process.look_again()?;
        if has_loaded(&process) {
            follower.enter_event_stop()?;
            return Ok(HeldProcess::of(follower, process, alone, None)?);
        }
    }
}

/// Does the dynamic loader say that it has finished, and is the program relocated?
fn has_loaded(process: &Process) -> bool {
    loader::consistent(process).unwrap_or(false) && relocated::all(process, process.auxv.loader)
}
