#![expect(unsafe_code, reason = "fork and ptrace have no safe interface in std")]
//! Runs something in a child process and lets one of its system calls go wrong, whichever is asked for by
//! number.

use std::{
    collections::HashMap,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    time::{Duration, Instant},
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The child is killed instead.
    Kill,
    /// The call is not made and gives this error.
    Fail(i32),
}

/// What became of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the call that went wrong, `None` if there were not as many calls.
    pub hit: Option<i64>,
    /// Its exit status, `None` if it was killed by a signal.
    pub status: Option<i32>,
}

/// Not counted: what the scheduler decides how often it is made.
const UNCOUNTED: [i64; 9] = [
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_timer_settime,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_madvise,
];

const LIMIT: Duration = Duration::from_secs(30);

/// Words of `user_regs_struct`.
const RAX: usize = 10;
const ORIG_RAX: usize = 15;

fn ptrace(request: libc::c_uint, tid: i32, addr: usize, data: usize) -> bool {
    // SAFETY: the requests used take integers, or (GETREGS) a structure that the caller owns.
    unsafe { libc::ptrace(request, tid, addr as *mut libc::c_void, data as *mut libc::c_void) >= 0 }
}

fn call_number(tid: i32) -> Option<i64> {
    // SAFETY: all-zero is a value of this plain C structure, which the kernel then writes.
    let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
    ptrace(libc::PTRACE_GETREGS, tid, 0, (&raw mut regs).addr()).then_some(regs.orig_rax.cast_signed())
}

/// Runs `work` in a child. Its `number`th system call (from 0; repeated waiting counts once) suffers `harm`.
pub fn run(number: usize, harm: Harm, work: impl FnOnce() -> i32) -> Run {
    // SAFETY: the child calls nothing that needs a lock another thread of this program may hold: tests that
    // use this take turns, and the C library keeps its own locks usable.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: integers only.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
        }
        let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(101);
        // SAFETY: ends the child without running what belongs to its parent.
        unsafe { libc::_exit(status) }
    }
    follow(child, number, harm)
}

/// Where one thread of the child is.
#[derive(Default)]
struct Follow {
    inside: bool,
    waited: bool,
    failing: bool,
}

fn follow(child: i32, number: usize, harm: Harm) -> Run {
    let started = Instant::now();
    let mut threads: HashMap<i32, Follow> = HashMap::new();
    let (mut count, mut hit) = (0, None);
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int. Only children of this thread are looked at.
        let tid =
            unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG) };
        if tid == 0 {
            if started.elapsed() > LIMIT {
                // SAFETY: integers only.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("call {number}, {harm:?} ({hit:?}): the child does not end");
            }
            std::thread::yield_now();
            continue;
        }
        assert!(tid > 0, "{}", io::Error::last_os_error());
        if !libc::WIFSTOPPED(status) {
            threads.remove(&tid);
            if tid == child {
                let status = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
                return Run { hit, status };
            }
            continue;
        }
        let fresh = !threads.contains_key(&tid);
        let thread = threads.entry(tid).or_default();
        let mut deliver = 0;
        match libc::WSTOPSIG(status) {
            // The first stop of the child and of each of its threads.
            libc::SIGSTOP if fresh => {
                let options =
                    libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
                ptrace(libc::PTRACE_SETOPTIONS, tid, 0, usize::try_from(options).unwrap());
            }
            signal if signal == libc::SIGTRAP | 0x80 => {
                thread.inside = !thread.inside;
                if !thread.inside {
                    if let (true, Harm::Fail(error)) = (mem::take(&mut thread.failing), harm) {
                        ptrace(libc::PTRACE_POKEUSER, tid, 8 * RAX, i64::from(-error) as usize);
                    }
                } else if let Some(call) = call_number(tid)
                    && !UNCOUNTED.contains(&call)
                {
                    let again = thread.waited && call == libc::SYS_wait4;
                    thread.waited = call == libc::SYS_wait4;
                    if !again {
                        if count == number {
                            hit = Some(call);
                            match harm {
                                Harm::Kill => {
                                    // SAFETY: integers only.
                                    unsafe { libc::kill(child, libc::SIGKILL) };
                                }
                                Harm::Fail(_) => {
                                    ptrace(libc::PTRACE_POKEUSER, tid, 8 * ORIG_RAX, usize::MAX);
                                    thread.failing = true;
                                }
                            }
                        }
                        count += 1;
                    }
                }
            }
            _ if status >> 16 != 0 => {}
            signal => deliver = signal,
        }
        ptrace(libc::PTRACE_SYSCALL, tid, ptr::null::<u8>().addr(), usize::try_from(deliver).unwrap());
    }
}
