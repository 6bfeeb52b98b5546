//! Old code on a stack holds a patch up; `lazy` does not wait for it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{Options, Outcome};
use common::{
    Target, compile,
    image::{Elf, patch, returns, with_prologue},
};
use std::{process::Command, time::Duration};

/// `one` reads from standard input: whoever waits is inside it.
const INSIDE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <unistd.h>
__attribute__((noipa)) int two(void) { return 2; }
__attribute__((noipa)) int one(void) { int c = getchar(); if (c == EOF) exit(0); return two() - 1; }
static void handler(int s) { (void)s; printf("in handler\n"); pause(); }
int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IONBF, 0);
    signal(SIGUSR1, handler);
    stack_t s = { .ss_sp = malloc(65536), .ss_size = 65536 };
    struct sigaction a = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
    if (sigaltstack(&s, 0) || sigaction(SIGUSR1, &a, 0)) return 1;
    for (;;) { int r = one(); printf("%d %d\n", r, two()); }
}
"#;

#[test]
fn a_thread_inside_is_named_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "inside", INSIDE, &[]);
    // `one` begins with a short push and a call: more than what its replacement overwrites is copied.
    let patch =
        patch(&Elf::read(&program), "busy", vec![returns("two", 22), with_prologue("one", 11, &program)]);
    let mut target = Target::start(&program);
    for _ in 0..3 {
        target.rest();
        let outcome = applier::apply(target.pid(), &patch, &Options::default()).unwrap();
        let Outcome::Busy(busy) = outcome else { panic!("{outcome:?}") };
        assert_eq!((busy.function.as_deref(), busy.tid), (Some("one"), target.pid()), "{busy}");
        assert_eq!(target.ask(), "1 2");
    }
    target.rest();
    let report = applier::check(target.pid(), &patch, &Options::default()).unwrap();
    assert_eq!(report.busy.unwrap().function.as_deref(), Some("one"));
}

#[test]
fn lazily_the_next_call_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "inside", INSIDE, &[]);
    let patch = patch(&Elf::read(&program), "lazy", vec![returns("two", 22)]);
    let mut target = Target::start(&program);
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), "21 22");
    common::deactivate_patiently(target.pid(), &patch);

    let elf = Elf::read(&program);
    let inner = common::image::patch(&elf, "inner", vec![with_prologue("one", 77, &program)]);
    let lazy = Options { lazy: true, ..Options::default() };
    target.rest();
    assert!(matches!(applier::apply(target.pid(), &inner, &Options::default()).unwrap(), Outcome::Busy(_)));
    let outcome = common::apply_patiently(target.pid(), &inner, &lazy);
    assert!(
        matches!(&outcome, Outcome::DoneBut(what) if what.contains("1 of its threads still in one:")),
        "{outcome:?}"
    );
    target.send();
    assert_eq!(target.read_line(), "1 2");
    assert_eq!(target.read_line(), "77 2");
    target.child.kill().unwrap();
}

#[test]
fn below_a_signal_handler_on_another_stack() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "inside", INSIDE, &[]);
    let elf = Elf::read(&program);
    let two = patch(&elf, "two", vec![returns("two", 22)]);
    let one = patch(&elf, "one", vec![with_prologue("one", 11, &program)]);
    let mut target = Target::start(&program);
    target.rest();
    std::process::Command::new("kill").args(["-USR1", &target.pid().to_string()]).status().unwrap();
    assert_eq!(target.read_line(), "in handler");
    // The stack is followed through the handler: `one` is found, and that `two` is not on it.
    let outcome = applier::apply(target.pid(), &one, &Options::default()).unwrap();
    let Outcome::Busy(busy) = outcome else { panic!("{outcome:?}") };
    assert_eq!(busy.function.as_deref(), Some("one"), "{busy}");
    assert_eq!(common::apply_patiently(target.pid(), &two, &Options::default()), Outcome::Done);
}

/// Eight threads of which each is in `one` nearly all of the time: they are never all outside of it.
const HOT: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static volatile long spins;
__attribute__((noipa)) int two(void) { return 2; }
__attribute__((noipa)) int one(void) { for (int i = 0; i < 20000; i++) spins++; return two() - 1; }
static void *hot(void *arg) { for (;;) { one(); getppid(); } return arg; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 8; i++) { pthread_t t; pthread_create(&t, 0, hot, 0); }
    while (getchar() != EOF) printf("%d %d %s\n", one(), two(), spins > 0 ? "spins" : "");
}
"#;

/// On a machine that is very busy, a thread that runs all the time may not get a processor to stop on for a
/// while.
fn scheduled(change: impl Fn() -> Outcome) -> Outcome {
    let was = |outcome: &Outcome| !matches!(outcome, Outcome::Busy(b) if b.why == "does not stop");
    let mut tries = (0..20).map(|_| change());
    tries.find(was).unwrap()
}

#[test]
fn threads_in_the_way_get_out_of_it_while_others_stand() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "hot", HOT, &[]);
    let patch = patch(&Elf::read(&program), "hot", vec![with_prologue("one", 11, &program)]);
    let mut target = Target::start(&program);
    let patient = Options { patience: Duration::from_secs(10), ..Options::default() };
    // Once may be luck.
    for _ in 0..5 {
        assert_eq!(scheduled(|| applier::apply(target.pid(), &patch, &patient).unwrap()), Outcome::Done);
        assert_eq!(target.ask(), "11 2 spins");
        let removed = || applier::deactivate(target.pid(), patch.uuid, &patient).unwrap();
        assert_eq!(scheduled(removed), Outcome::Done);
        assert_eq!(target.ask(), "1 2 spins");
    }
    assert_eq!(target.tracer(), "0");
}

#[test]
fn what_job_control_has_stopped_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "halted", HOT, &[]);
    let patch = patch(&Elf::read(&program), "halted", vec![with_prologue("one", 11, &program)]);
    let mut target = Target::start(&program);
    let pid = target.pid().to_string();
    let kill = |signal: &str| Command::new("kill").args([signal, &pid]).status().unwrap();
    kill("-STOP");
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", target.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect();
        (fields[0].clone(), fields[11].parse::<u64>().unwrap())
    };
    // On a busy machine the others stop some time after the first.
    let stopped = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
        let stats = threads.map(|t| std::fs::read_to_string(t.unwrap().path().join("stat")).unwrap());
        stats.into_iter().all(|s| s.rsplit_once(") ").unwrap().1.starts_with('T'))
    };
    let wait_until_stopped = || {
        while !stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    wait_until_stopped();
    let before = cpu();
    let patient = Options { patience: Duration::from_millis(300), ..Options::default() };
    for _ in 0..3 {
        let outcome = applier::apply(target.pid(), &patch, &patient).unwrap();
        assert!(matches!(outcome, Outcome::Busy(_)), "{outcome:?}");
    }
    // Let go, it has to be scheduled once to stop again.
    wait_until_stopped();
    // In hundredths of a second, as the kernel estimates them: if the eight ran, it would be dozens.
    let after = cpu();
    assert!(after.0 == before.0 && after.1 <= before.1 + 5, "{before:?}, then {after:?}");
    kill("-CONT");
    assert_eq!(target.ask(), "1 2 spins");
}
