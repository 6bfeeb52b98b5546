//! A function that a process leaves for an instant only, and a process that can be stopped for an instant
//! only, are caught there.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedPatch, Options, Outcome};
use common::{
    Target, child_of_this, compile,
    image::{Elf, patch, with_prologue},
};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Threads that are in `one` but for a few instructions. Arguments: for how many milliseconds each time, how
/// many threads, how deep, and how it is left. A timer's signals come all the while.
const HURRY: &str = r#"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
static struct timespec t;
static volatile long seen, ticks;
static int jumps;
static __thread jmp_buf back;
static void sleep_on(void) { struct timespec left = t; while (nanosleep(&left, &left)) {} }
__attribute__((noipa)) int one(long depth) {
    asm volatile("" : : : "memory");
    if (depth) return one(depth - 1) + 0;
    sleep_on();
    if (jumps) longjmp(back, 1);
    return 1;
}
static void *hurry(void *depth) {
    for (;;) {
        if (jumps && setjmp(back)) continue;
        seen = one((long)depth);
    }
    return 0;
}
static void tick(int s) { (void)s; ticks++; }
int main(int argc, char **argv) {
    long depth = atoi(argv[3]);
    t.tv_nsec = atol(argv[1]) * 1000000;
    jumps = !strcmp(argv[4], "jumps");
    setvbuf(stdout, 0, _IONBF, 0);
    struct sigaction a = { .sa_handler = tick, .sa_flags = SA_RESTART };
    struct itimerval every = { { 0, 3000 }, { 0, 3000 } };
    sigaction(SIGALRM, &a, 0);
    setitimer(ITIMER_REAL, &every, 0);
    for (int i = 0; i < atoi(argv[2]); i++) { pthread_t p; if (pthread_create(&p, 0, hurry, (void *)depth)) return 1; }
    while (getchar() != EOF) { struct timespec w = { 0, 120000000 }; while (nanosleep(&w, &w)) {} printf("%ld\n", jumps ? 7 : seen); }
}
"#;

fn hurry(dir: &Path) -> (std::path::PathBuf, LoadedPatch) {
    let program = compile(dir, "hurry", HURRY, &["-pthread", "-fno-optimize-sibling-calls"]);
    let patch = patch(&Elf::read(&program), "hurry", vec![with_prologue("one", 5, &program)]);
    (program, patch)
}

fn patient() -> Options {
    Options { patience: Duration::from_millis(2), wait: Duration::from_secs(1), ..Options::default() }
}

/// On a machine that is very busy it takes some tries.
fn within(seconds: u64, change: impl Fn() -> Outcome) -> Outcome {
    let started = Instant::now();
    loop {
        match change() {
            Outcome::Busy(_) if started.elapsed().as_secs() < seconds => {}
            outcome => return outcome,
        }
    }
}

#[test]
fn threads_are_caught_where_they_return() {
    let dir = tempfile::tempdir().unwrap();
    let (program, patch) = hurry(dir.path());
    for arguments in [
        ["1", "1", "0", "returns"],
        ["100", "1", "0", "returns"],
        ["5", "1", "40", "returns"],
        ["10", "4", "3", "returns"],
    ] {
        let mut target = Target::start_with(Command::new(&program).args(arguments));
        assert_eq!(target.ask(), "1");
        let pid = target.pid();
        let done = within(20, || applier::apply(pid, &patch, &patient()).unwrap());
        assert_eq!(done, Outcome::Done, "{arguments:?}");
        assert_eq!((target.ask(), target.tracer()), ("5".into(), "0".into()), "{arguments:?}");
    }
}

/// Nobody comes to where it would have returned to, and nothing of that is left.
#[test]
fn a_thread_that_leaves_by_another_way_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (program, patch) = hurry(dir.path());
    let mut target = Target::start_with(Command::new(&program).args(["5", "2", "3", "jumps"]));
    for _ in 0..2 {
        let options = Options { wait: Duration::from_millis(100), ..patient() };
        applier::apply(target.pid(), &patch, &options).unwrap();
        assert_eq!((target.ask(), target.tracer()), ("7".into(), "0".into()));
    }
}

/// Not a test of its own: runs in a process that is killed on the way.
#[test]
#[ignore = "runs as a child of another test"]
fn waits_until_killed() {
    let Ok(order) = std::env::var("UPATCH_TEST_WAITS") else { return };
    let (pid, program) = order.split_once(' ').unwrap();
    let patch =
        patch(&Elf::read(Path::new(program)), "hurry", vec![with_prologue("one", 5, Path::new(program))]);
    loop {
        let _ = applier::apply(pid.parse().unwrap(), &patch, &patient());
        let _ = applier::deactivate(pid.parse().unwrap(), patch.uuid, &patient());
    }
}

#[test]
fn nothing_is_left_behind_by_one_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (program, _) = hurry(dir.path());
    let mut target = Target::start_with(Command::new(&program).args(["1", "2", "2", "returns"]));
    for i in 0..12 {
        let order = format!("{} {}", target.pid(), program.display());
        let mut killed = child_of_this("waits_until_killed", "UPATCH_TEST_WAITS", &order).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(60_000 + 7_777 * i));
        killed.kill().unwrap();
        killed.wait().unwrap();
        let answer = target.ask();
        assert!(answer == "1" || answer == "5", "{answer}");
        assert_eq!(target.tracer(), "0");
    }
}

/// Nearly always in `vfork`, where it cannot be stopped.
const FORKS: &str = r#"
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
static void *forks(void *arg) {
    for (;;) {
        pid_t pid = vfork();
        if (!pid) { usleep(60000); _exit(0); }
        struct pollfd p = { 0, POLLIN, 0 };
        char c;
        if (!arg && poll(&p, 1, 0) == 1) { if (read(0, &c, 1) != 1) _exit(0); printf("%d\n", one()); }
    }
}
int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IONBF, 0);
    if (!strcmp(argv[1], "alone")) forks(0);
    pthread_t t;
    pthread_create(&t, 0, forks, argv);
    while (getchar() != EOF) printf("%d\n", one());
}
"#;

#[test]
fn a_process_in_vfork_is_caught_when_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "forks", FORKS, &["-pthread"]);
    let patch = patch(&Elf::read(&program), "forks", vec![with_prologue("one", 5, &program)]);
    for how in ["alone", "beside"] {
        let mut target = Target::start_with(Command::new(&program).arg(how));
        let pid = target.pid();
        let done = within(20, || applier::apply(pid, &patch, &patient()).unwrap());
        assert_eq!((done, target.ask()), (Outcome::Done, "5".into()), "{how}");
        assert_eq!(target.tracer(), "0");
    }
}
