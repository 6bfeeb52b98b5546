//! Programs with many threads, threads that come and go, and signals that never stop.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{Options, Outcome};
use common::{Target, apply_patiently, compile, deactivate_patiently, image::pair_patch};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Argument: number of threads. All but the first sleep; the first watches the clock and says how long the
/// longest gap was, in microseconds.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static void *sleeper(void *arg) {
    if ((long)arg % 2) {
        pthread_mutex_lock(&lock);
        for (;;) pthread_cond_wait(&cond, &lock);
    }
    for (;;) { struct timespec t = { 1000, 0 }; nanosleep(&t, 0); }
    return 0;
}
static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
int main(int argc, char **argv) {
    pthread_attr_t attr; pthread_attr_init(&attr); pthread_attr_setstacksize(&attr, 65536);
    for (long i = 1; i < atoi(argv[1]); i++) { pthread_t t; if (pthread_create(&t, &attr, sleeper, (void *)i)) return 1; }
    setvbuf(stdout, 0, _IONBF, 0);
    long longest = 0, last = now();
    for (unsigned n = 0;; n++) {
        long t = now();
        if (t - last > longest) longest = t - last;
        last = t;
        if (n % 4096) continue;
        struct pollfd p = { 0, POLLIN, 0 };
        if (poll(&p, 1, 0) == 1) {
            char c;
            if (read(0, &c, 1) != 1) return 0;
            printf("%ld %d %d\n", longest / 1000, one(), two());
            longest = 0;
        }
        last = now();
    }
}
"#;

fn pause(threads: usize) -> (u64, u128) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "clock", CLOCK, &["-pthread"]);
    let patch = pair_patch(&program, "clock");
    let mut target = Target::start_with(Command::new(&program).arg(threads.to_string()));
    let gap = |line: &str| line.split(' ').next().unwrap().parse::<u64>().unwrap();
    let (mut pauses, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        target.ask();
        let started = Instant::now();
        let outcome = apply_patiently(target.pid(), &patch, &Options::default());
        whole.push(started.elapsed().as_micros());
        assert_eq!(outcome, Outcome::Done);
        let answer = target.ask();
        assert!(answer.ends_with(" 11 22"), "{answer}");
        pauses.push(gap(&answer));
        deactivate_patiently(target.pid(), &patch);
        assert!(target.ask().ends_with(" 1 2"));
    }
    pauses.sort_unstable();
    whole.sort_unstable();
    eprintln!("{threads} threads: pause {pauses:?} µs, whole {whole:?} µs");
    (pauses[2], whole[2])
}

/// The bars are those of a release build on an idle machine, with room for a debug build on a busy one.
#[test]
fn pause_is_short() {
    for (threads, limit) in [(1, 20_000), (50, 60_000), (500, 400_000)] {
        let (pause, _) = pause(threads);
        assert!(pause < limit, "{threads} threads: {pause} µs");
    }
}

const COMING_AND_GOING: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <signal.h>
#include <unistd.h>
#include <sys/time.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static volatile long started, signals;
static void *shortlived(void *arg) { started += one() != 0; return arg; }
static void *parent(void *arg) {
    for (;;) { pthread_t t; if (!pthread_create(&t, 0, shortlived, 0)) pthread_join(t, 0); }
    return arg;
}
static void handler(int s) { signals += one() != 0; }
int main(int argc, char **argv) {
    if (argc > 1) {
        struct sigaction a = { .sa_handler = handler, .sa_flags = SA_RESTART };
        sigaction(SIGALRM, &a, 0);
        struct itimerval t = { { 0, 200 }, { 0, 200 } };
        setitimer(ITIMER_REAL, &t, 0);
    } else
        for (int i = 0; i < 4; i++) { pthread_t t; pthread_create(&t, 0, parent, 0); }
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) {
        long was = started + signals;
        usleep(1000);
        printf("%d %d %s\n", one(), two(), started + signals > was || started + signals > 0 ? "alive" : "dead");
    }
}
"#;

fn under_fire(argument: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "fire", COMING_AND_GOING, &["-pthread"]);
    let patch = pair_patch(&program, "fire");
    let mut command = Command::new(&program);
    command.args(argument);
    let mut target = Target::start_with(&mut command);
    for _ in 0..20 {
        assert_eq!(apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
        assert_eq!(target.ask(), "11 22 alive");
        deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), "1 2 alive");
    }
    assert_eq!(applier::inspect(target.pid()).unwrap().len(), 1);
}

#[test]
fn threads_that_come_and_go() {
    under_fire(None);
}

#[test]
fn a_signal_every_200_microseconds() {
    under_fire(Some("signals"));
}

/// One thread is in a system call, or in a handler: timers send it signals, several at once.
const PELTED: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static volatile long signals;
static int ends[2];
static void handler(int s) { signals += one() != 0; }
static void *receive(void *arg) {
    struct sigaction a = { .sa_handler = handler, .sa_flags = SA_RESTART };
    for (int i = 0; i < 4; i++) {
        struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + i };
        struct itimerspec every = { { 0, 100000 + 7000 * i }, { 0, 100000 + 7000 * i } };
        timer_t timer;
        event._sigev_un._tid = syscall(SYS_gettid);
        if (sigaction(SIGRTMIN + i, &a, 0) || timer_create(CLOCK_MONOTONIC, &event, &timer)) _exit(4);
        timer_settime(timer, 0, &every, 0);
    }
    for (char c;;) if (read(ends[0], &c, 1) != 0) _exit(3);
    return arg;
}
int main(void) {
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    if (pipe(ends) || pthread_create(&t, 0, receive, 0)) return 1;
    while (getchar() != EOF) printf("%d %d\n", one(), two());
}
"#;

/// A signal may come between the moment at which a thread is asked to stop and the stop. That it was asked is
/// forgotten then: it has to be asked again, or whoever waits for it waits for ever, or in vain.
#[test]
fn a_signal_does_not_make_a_thread_forget_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pelted", PELTED, &["-pthread"]);
    let patch = pair_patch(&program, "pelted");
    let target = Target::start(&program);
    let (mut longest, mut unstopped) = (Duration::ZERO, 0);
    for _ in 0..300 {
        let started = Instant::now();
        let outcome = applier::apply(target.pid(), &patch, &Options::default()).unwrap();
        unstopped += usize::from(matches!(outcome, Outcome::Busy(b) if b.why == "does not stop"));
        longest = longest.max(started.elapsed());
        deactivate_patiently(target.pid(), &patch);
    }
    eprintln!("longest {longest:?}, {unstopped} not stopped");
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

/// Behind `clone`, where a new thread and its maker are most of the time, there is no unwind information.
#[test]
fn new_threads_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "new", COMING_AND_GOING, &["-pthread"]);
    let patch = pair_patch(&program, "new");
    let target = Target::start_with(&mut Command::new(&program));
    for _ in 0..50 {
        match applier::apply(target.pid(), &patch, &Options::default()).unwrap() {
            Outcome::Busy(busy) => assert!(!busy.why.contains("no unwind information"), "{busy}"),
            _ => deactivate_patiently(target.pid(), &patch),
        }
    }
}
