//! Running the real tool so that signals reach it and its death looks like ours.
#![expect(unsafe_code, reason = "signal handlers and prctl have no safe interface in the standard library")]

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};

/// How the real tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

/// The process to pass signals on to; 0 while there is none.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// A signal that came before there was a child.
static PENDING: AtomicI32 = AtomicI32::new(0);

extern "C" fn forward(signal: libc::c_int) {
    let child = CHILD.load(Ordering::SeqCst);
    if child > 0 {
        // SAFETY: kill is async-signal-safe; the child is not reaped before CHILD is set back to 0.
        unsafe { libc::kill(child, signal) };
    } else {
        PENDING.store(signal, Ordering::SeqCst);
    }
}

/// Signals that ask a program to end. A `make` that gives up sends them to the process that it started, which
/// is this one.
const FORWARDED: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

fn install_forwarding() {
    for signal in FORWARDED {
        // SAFETY: both structures are plain data for which all zeroes is valid; the handler only does
        // async-signal-safe work. A signal that is ignored (nohup) stays so.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut old) != 0
                || old.sa_sigaction == libc::SIG_IGN
            {
                continue;
            }
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = forward as *const () as libc::sighandler_t;
            new.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const new, std::ptr::null_mut());
        }
    }
}

/// Runs a command to its end. With `capture`, what it writes to standard error is passed on as it comes and
/// returned.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn run(command: &mut Command, capture: bool) -> io::Result<(End, Vec<u8>)> {
    install_forwarding();
    if capture {
        command.stderr(Stdio::piped());
    }
    // SAFETY: prctl is async-signal-safe. The real tool must not outlive a wrapper that was killed: whoever
    // killed it thinks that the output file is no longer being written.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn()?;
    CHILD.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    let pending = PENDING.swap(0, Ordering::SeqCst);
    if pending != 0 {
        forward(pending);
    }
    let mut captured = Vec::new();
    if let Some(mut pipe) = child.stderr.take() {
        let mut buffer = [0_u8; 16 * 1024];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let _ = io::stderr().write_all(&buffer[..count]);
            captured.extend_from_slice(&buffer[..count]);
        }
    }
    let status = child.wait()?;
    CHILD.store(0, Ordering::SeqCst);
    Ok((end_of(status), captured))
}

/// Lets the command have an open file under this number.
pub(crate) fn give(command: &mut Command, file: OwnedFd, number: i32) {
    if number == 0 {
        command.stdin(file);
        return;
    }
    // SAFETY: dup2 and fcntl are async-signal-safe. The command owns the file, so it is open until the child
    // has its own copy; one that has the number already must only survive `exec`.
    unsafe {
        command.pre_exec(move || {
            let done = if file.as_raw_fd() == number {
                libc::fcntl(number, libc::F_SETFD, 0)
            } else {
                libc::dup2(file.as_raw_fd(), number)
            };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
}

pub(crate) fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, signal) => End::Signal(signal.unwrap_or(libc::SIGKILL)),
    }
}

/// Ends this process as the child ended.
pub(crate) fn finish(end: End) -> ! {
    match end {
        End::Code(code) => std::process::exit(code),
        End::Signal(signal) => {
            // SAFETY: plain system calls without pointers into our memory. Not dumpable: the child has left
            // its core file already, a second one would overwrite it.
            unsafe {
                libc::prctl(libc::PR_SET_DUMPABLE, 0);
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
            std::process::exit(128 + signal);
        }
    }
}
