//! One process held by the kernel in `open` or `execve`, until the event for it is answered.

use super::plan::lock;
use crate::engine::start::Pin;
use nix::sys::fanotify::{Fanotify, FanotifyEvent, FanotifyResponse, MaskFlags, Response};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Longest wait for a worker. A start that has waited so long goes on unpatched, and is patched while it
/// runs.
const QUEUED: Duration = Duration::from_millis(200);
/// Longest wait for the worker to attach.
const ATTACHING: Duration = Duration::from_millis(200);
/// Before Linux 6.8, and where a script names the program, the kernel lets nobody attach before `execve` has
/// gone on: a worker that is asleep so long after it began waits for that, and attaches at once when it has.
const ASLEEP: Duration = Duration::from_millis(1);

/// Has the event been answered?
#[derive(Debug, Default)]
struct Answer {
    given: bool,
    /// Keeps the thread on the worker's processor until the worker is attached.
    pin: Option<Pin>,
}

/// A permission event of fanotify(7): the kernel holds a thread until it is answered. Dropping answers it.
#[derive(Debug)]
pub(super) struct PermissionEvent {
    group: Arc<Fanotify>,
    event: FanotifyEvent,
    came: Instant,
    /// When, and which thread of ours.
    begun: Mutex<Option<(Instant, i32)>>,
    answer: Mutex<Answer>,
    /// Where notes about pins are kept.
    notes: Arc<Path>,
}

impl PermissionEvent {
    pub(super) fn new(group: Arc<Fanotify>, event: FanotifyEvent, notes: Arc<Path>) -> Self {
        let (came, begun, answer) = (Instant::now(), Mutex::default(), Mutex::default());
        Self { group, event, came, begun, answer, notes }
    }

    /// The thread that is held.
    pub(super) fn tid(&self) -> i32 {
        self.event.pid()
    }

    /// Is the thread about to execute the file? Otherwise it opens it.
    pub(super) fn executes(&self) -> bool {
        self.event.mask().contains(MaskFlags::FAN_OPEN_EXEC_PERM)
    }

    /// A worker begins with it. `false` when it was answered before its turn came.
    pub(super) fn begin(&self, worker: i32) -> bool {
        *lock(&self.begun) = Some((Instant::now(), worker));
        !lock(&self.answer).given
    }

    /// Lets the thread go on. `false` if it was let go before.
    pub(super) fn allow(&self) -> bool {
        self.respond(&mut lock(&self.answer))
    }

    fn respond(&self, answer: &mut Answer) -> bool {
        if answer.given {
            return false;
        }
        answer.given = true;
        if let Some(fd) = self.event.fd() {
            // Fails only when the thread was killed while it waited.
            let _ = self.group.write_response(FanotifyResponse::new(fd, Response::FAN_ALLOW));
        }
        true
    }

    /// The worker is attached, or has failed: it and the thread go where they like again.
    pub(super) fn unpin(&self) {
        drop(lock(&self.answer).pin.take());
    }

    /// Was the event answered? An event that has waited for too long is answered now.
    pub(super) fn is_answered(&self, now: Instant) -> bool {
        let mut answer = lock(&self.answer);
        if answer.given {
            return true;
        }
        let begun = *lock(&self.begun);
        let late = match begun {
            Some((begun, worker)) => {
                let time = now.saturating_duration_since(begun);
                let waits = time > ASLEEP && attaches(worker);
                if waits && self.executes() {
                    answer.pin = Pin::set(self.tid(), worker, &self.notes);
                }
                waits || time > ATTACHING
            }
            None => now.saturating_duration_since(self.came) > QUEUED,
        };
        if late {
            self.respond(&mut answer);
        }
        late
    }
}

/// Does thread `tid` of this program wait in `ptrace`? One that waits for a processor or a lock of ours does
/// not.
fn attaches(tid: i32) -> bool {
    fs::read_to_string(format!("/proc/self/task/{tid}/syscall"))
        .is_ok_and(|text| text.split_ascii_whitespace().next() == Some(&libc::SYS_ptrace.to_string()))
}

impl Drop for PermissionEvent {
    fn drop(&mut self) {
        self.allow();
    }
}
