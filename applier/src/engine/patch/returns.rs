//! Threads that leave what is to change for an instant only are caught at that instant.
//!
//! A thread that calls a function again as soon as it has come back from it is out of it for a few
//! instructions, and makes no system call there. So a breakpoint of the kernel's waits where its outermost
//! frame in changed code returns to ([`Breakpoint`]), while all threads run on; the thread stops there, out
//! of the way, and then all others are stopped. Where several are in the way, those that were caught wait for
//! the others, but not for long. A thread in `vfork`, which cannot be stopped, is asked to stop and does so
//! when it comes back.

use super::{
    outwait::Quiescence,
    quiesce::{ExitPoint, Zone},
};
use crate::{
    Options, ProcessError,
    arch::Registers,
    engine::{
        Hindrance, load,
        target::{
            frames::Tables,
            process::Process,
            procfile,
            switches::Stacks,
            threads::{self, StoppedThreads},
        },
    },
    sys::{
        breakpoint::Breakpoint,
        ptrace,
        wait::{self, Report},
    },
};
use std::time::{Duration, Instant};

/// How long threads that are out of the way stand for those that are not.
const HOLD: Duration = Duration::from_millis(20);
/// Threads in the way that are waited for at most.
const MOST: usize = 16;

/// A thread that runs to where it leaves.
struct ArmedThread {
    tid: i32,
    exit: ExitPoint,
    signal: i32,
    _breakpoint: Breakpoint,
}

/// Stops all threads where none of them, and no suspended stack, is in `zones`; else the first that is. Takes
/// about `options.patience` while threads stand, and `options.wait` while they run.
pub(super) fn quiesce(
    process: &mut Process,
    tables: &mut Tables,
    zones: &[Zone],
    stacks: Stacks,
    options: &Options,
) -> Result<StoppedThreads, Hindrance> {
    let until = Instant::now() + options.wait;
    let pid = process.pid;
    let trace = load::trace_options(process);
    // Stopped by us already, and since when.
    let (mut ours, mut since) = (Vec::new(), None);
    loop {
        let held = match StoppedThreads::all(process, trace, &ours) {
            Ok(held) => held,
            Err(Hindrance::Busy(busy)) => {
                threads::release(&mut ours);
                if !busy.sleeps_uninterruptibly() || !threads::await_return(busy.tid, until) {
                    return Err(busy.into());
                }
                ours.push(busy.tid);
                continue;
            }
            Err(failed) => return Err(failed),
        };
        let mut quiescence = Quiescence::new(process, held, tables, zones, stacks, options);
        let Some(busy) = quiescence.reach(options.patience)? else {
            let held = quiescence.held();
            tracing::info!(pid, threads = held.threads().len(), "all threads stand outside of what changes");
            return Ok(held);
        };
        let leaving = if Instant::now() < until { quiescence.leaving()? } else { None };
        let mut held = quiescence.held();
        let Some(armed) = leaving.and_then(|all| arm(process, &all)) else { return Err(busy.into()) };
        let in_way = |tid: &i32| armed.iter().any(|a| a.tid == *tid);
        ours.retain(|tid| !in_way(tid));
        if ours.is_empty() {
            since = None;
        }
        held.leave_stopped(ours.iter().copied().chain(armed.iter().map(|a| a.tid)));
        drop(held);
        let caught = run(armed, &mut ours, &mut since, until)?;
        if !caught {
            threads::release(&mut ours);
            return Err(busy.into());
        }
    }
}

/// A breakpoint for each; `None` where that cannot be.
fn arm(process: &Process, leaving: &[(i32, ExitPoint)]) -> Option<Vec<ArmedThread>> {
    if leaving.is_empty() || leaving.len() > MOST {
        return None;
    }
    let one = |(tid, exit): &(i32, ExitPoint)| {
        let signal = unnoticed(process.pid, *tid)?;
        let breakpoint = Breakpoint::set(*tid, exit.to, signal).ok()?;
        Some(ArmedThread { tid: *tid, exit: *exit, signal, _breakpoint: breakpoint })
    };
    leaving.iter().map(one).collect()
}

/// A signal that a thread neither handles nor blocks, and that does nothing by default.
fn unnoticed(pid: i32, tid: i32) -> Option<i32> {
    let text = procfile::text(&format!("/proc/{pid}/task/{tid}/status")).ok()?;
    let mask =
        |key: &str| u64::from_str_radix(text.lines().find_map(|l| l.strip_prefix(key))?.trim(), 16).ok();
    let noticed = mask("SigCgt:")? | mask("SigBlk:")?;
    [libc::SIGURG, libc::SIGWINCH].into_iter().find(|s| noticed >> (s - 1) & 1 == 0)
}

/// Lets the threads run until one of them is where it leaves. All of them are `ours` then, stopped. `false`:
/// none was, in time.
fn run(
    mut armed: Vec<ArmedThread>,
    ours: &mut Vec<i32>,
    since: &mut Option<Instant>,
    until: Instant,
) -> Result<bool, ProcessError> {
    for thread in &armed {
        threads::go_on(thread.tid).map_err(ProcessError::os("cannot let a thread run"))?;
    }
    let mut caught = None;
    while caught.is_none() && !armed.is_empty() && Instant::now() < until {
        if since.is_some_and(|s| s.elapsed() > HOLD) {
            threads::release(ours);
            *since = None;
        }
        let Ok(Some((tid, report))) = wait::wait_any() else { continue };
        let Some(thread) = armed.iter().find(|a| a.tid == tid) else { continue };
        let signal = match report {
            Report::Signal(signal) if signal == thread.signal => {
                match Registers::read(tid) {
                    Ok(registers) if registers.sp() >= thread.exit.sp => caught = Some(tid),
                    _ => {}
                }
                0
            }
            Report::Signal(signal) => signal,
            Report::Ended => {
                armed.retain(|a| a.tid != tid);
                continue;
            }
            // Job control: whoever is stopped goes nowhere.
            Report::Interrupted | Report::Suspended => {
                ours.push(tid);
                armed.retain(|a| a.tid != tid);
                break;
            }
            Report::Nothing | Report::Syscall | Report::Event(_) => 0,
        };
        if caught.is_none() {
            // It may have been killed.
            let _ = ptrace::cont(tid, signal);
        }
    }
    let gone = armed.is_empty() && caught.is_none();
    if caught.is_some() {
        since.get_or_insert_with(Instant::now);
    }
    for thread in &armed {
        if caught == Some(thread.tid) || threads::stop_again(thread.tid) {
            ours.push(thread.tid);
        }
    }
    Ok(caught.is_some() || gone)
}
