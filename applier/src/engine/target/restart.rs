//! System calls that a stop makes give up: the thread makes them again.

use super::{sleepers::Sleepers, threads::Thread};
use crate::{
    arch::{
        RED_ZONE, Registers,
        calls::{IN_MILLISECONDS, IO_PGETEVENTS, RESTARTABLE},
    },
    sys::ptrace,
};
use std::time::Duration;

/// Where a system call has its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeoutArgument {
    /// Milliseconds in the fourth argument; negative: none.
    Milliseconds,
    /// Address of a `timespec` in this argument (2 to 4, from 0); null: none.
    Timespec(usize),
}

/// The timeout of a call that does not go on by itself with what is left of it. Others do: the kernel keeps
/// their end (`poll`, `nanosleep`, `futex`), or writes back what is left (`ppoll`, `select`), or takes a
/// point in time (`mq_timedreceive`). A timeout of a socket cannot be made shorter for one call.
pub(crate) fn timeout_argument(call: i64) -> Option<TimeoutArgument> {
    Some(match call {
        _ if IN_MILLISECONDS.contains(&call) => TimeoutArgument::Milliseconds,
        libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => TimeoutArgument::Timespec(3),
        libc::SYS_rt_sigtimedwait => TimeoutArgument::Timespec(2),
        libc::SYS_io_getevents | IO_PGETEVENTS => TimeoutArgument::Timespec(4),
        _ => return None,
    })
}

/// Bytes below the stack pointer that belong to the function that runs, and room for a `timespec`.
const BELOW: u64 = RED_ZONE + 16;

/// Does the call wait with a signal mask of its own? A signal that comes then must end it, or the program
/// would sleep on it.
fn brings_mask(thread: &Thread) -> bool {
    let r = &thread.registers;
    // What cannot be read may be a mask.
    let is_set = |address: u64| ptrace::word(thread.tid, address).map_or(true, |word| word != 0);
    let (fifth, sixth) = (r.argument(4), r.argument(5));
    match r.call() {
        Some(libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2) => fifth != 0,
        Some(IO_PGETEVENTS) => sixth != 0 && is_set(sixth),
        // IORING_ENTER_EXT_ARG: the address of the mask is in a structure.
        Some(libc::SYS_io_uring_enter) if r.argument(3) & 8 != 0 => is_set(fifth),
        Some(libc::SYS_io_uring_enter) => fifth != 0,
        _ => false,
    }
}

/// May the thread make its call again? Not if a signal waits that ends it.
fn may_restart(thread: &Thread) -> bool {
    if !brings_mask(thread) {
        return !signal_waits(thread.tid);
    }
    // With the mask that the thread has otherwise, signals wait for the call, which lets them in and gives
    // EINTR then. What the kernel tells here is that mask; setting it takes the call's own out of force.
    let mask = ptrace::signal_mask(thread.tid);
    mask.and_then(|mask| ptrace::set_signal_mask(thread.tid, mask)).is_ok()
}

/// Our stop made such a call give up: let the thread make it again, unless a signal waits that ends it
/// anyway; with what is left of its timeout where that is known, else with all of it. A thread that has not
/// come to making it again since an earlier stop gets what is left now.
pub(crate) fn again(thread: &Thread, sleepers: &Sleepers) {
    let mut regs = thread.registers;
    let Some((call, _)) = regs.call_at_hand().filter(|(call, _)| RESTARTABLE.contains(call)) else { return };
    let gave_up = regs.call().is_some();
    if gave_up && (regs.result() != -i64::from(libc::EINTR) || !may_restart(thread)) {
        return;
    }
    let left = timeout_argument(call).and_then(|place| Some((place, sleepers.left(thread, place)?)));
    if let Some((place, left)) = left {
        set_timeout(thread.tid, &mut regs, place, left);
    }
    if gave_up {
        regs.call_again();
    }
    if gave_up || left.is_some() {
        let _ = regs.write(thread.tid);
    }
}

/// The timeout of the call that a thread is in. `None`: it has none, or it cannot be read.
pub(crate) fn timeout(thread: &Thread, place: TimeoutArgument) -> Option<Duration> {
    let r = &thread.registers;
    let argument = r.argument(place.index());
    match place {
        TimeoutArgument::Milliseconds => {
            let [a, b, c, d, ..] = argument.to_le_bytes();
            u32::try_from(i32::from_le_bytes([a, b, c, d])).ok().map(|ms| Duration::from_millis(ms.into()))
        }
        TimeoutArgument::Timespec(_) => timespec(thread.tid, argument),
    }
}

/// What cannot be written stays as it is: too long is allowed, too short is not.
fn set_timeout(tid: i32, regs: &mut Registers, place: TimeoutArgument, left: Duration) {
    let value = argument_for(regs, place, left);
    if let TimeoutArgument::Timespec(_) = place {
        let written = ptrace::set_word(tid, value, left.as_secs())
            .and_then(|()| ptrace::set_word(tid, value + 8, left.subsec_nanos().into()));
        if written.is_err() {
            return;
        }
    }
    regs.set_argument(place.index(), value);
}

/// What [`set_timeout`] puts into the argument at `place`: a call that was made again is known by it, since
/// one that the program makes itself has another.
pub(crate) fn argument_for(regs: &Registers, place: TimeoutArgument, left: Duration) -> u64 {
    match place {
        // Rounded up. It is an `int`, in which a negative number means no timeout.
        TimeoutArgument::Milliseconds => {
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX).cast_unsigned().into()
        }
        TimeoutArgument::Timespec(_) => regs.sp().wrapping_sub(BELOW) & !7,
    }
}

impl TimeoutArgument {
    /// Which argument of the call it is, from 0.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Milliseconds => 3,
            Self::Timespec(argument) => argument,
        }
    }
}

fn timespec(tid: i32, address: u64) -> Option<Duration> {
    if address == 0 {
        return None;
    }
    let (seconds, nanoseconds) =
        (ptrace::word(tid, address).ok()?, ptrace::word(tid, address.checked_add(8)?).ok()?);
    let nanoseconds = u32::try_from(nanoseconds).ok().filter(|n| *n < 1_000_000_000)?;
    (seconds < 1 << 62).then(|| Duration::new(seconds, nanoseconds))
}

fn signal_waits(tid: i32) -> bool {
    let pending = |shared| ptrace::pending_signals(tid, shared);
    let (Ok(own), Ok(shared), Ok(mask)) = (pending(false), pending(true), ptrace::signal_mask(tid)) else {
        return true;
    };
    own.into_iter().chain(shared).any(|s| mask >> (s - 1) & 1 == 0)
}
