//! A thread that is borrowed gives up no memory but what is its own: below a stack that a program has made,
//! there is somebody's data.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{Fault, FaultKind, Options, Outcome};
use common::{
    Target, child_of_this, compile,
    image::{Elf, patch, returns},
    was_killed,
};
use std::{path::Path, process::Command};

/// The one thread there is waits on the stack that the argument names. Below it are 8 KiB that nobody but the
/// program may write.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
struct area { unsigned char below[8192], stack[16384]; };
static struct area data;
static struct area *area = &data;
static void serve(void) {
    char line[32], c;
    while (read(0, &c, 1) == 1) {
        int bad = 0;
        for (unsigned i = 0; i < sizeof area->below; i++) bad += area->below[i] != 0x5a;
        memcpy(line, "1 whole\n", 9);
        line[0] = '0' + one();
        if (bad) memcpy(line + 2, "wrong", 5);
        if (write(1, line, 8) != 8) _exit(1);
    }
    _exit(0);
}
/* Down to its last kilobytes. */
static __attribute__((noipa)) void deep(void) {
    volatile char room[128];
    room[0] = 1;
    if ((unsigned char *)__builtin_frame_address(0) - area->stack > 2048) deep(); else serve();
    room[0] = 2;
}
static void *thread(void *arg) { deep(); return arg; }
static void handler(int s) { (void)s; deep(); }
static __attribute__((noipa)) void handled(void) {
    stack_t s = { .ss_sp = area->stack, .ss_size = sizeof area->stack };
    struct sigaction a = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
    if (!sigaltstack(&s, 0) && !sigaction(SIGUSR1, &a, 0)) raise(SIGUSR1);
}
static __attribute__((noipa)) void coroutine(void) {
    static ucontext_t there;
    getcontext(&there);
    there.uc_stack.ss_size = sizeof area->stack;
    there.uc_stack.ss_sp = area->stack;
    makecontext(&there, deep, 0);
    setcontext(&there);
}
/* The stack is in a variable of this function. */
static __attribute__((noipa)) void inside(void (*run)(void)) {
    struct area local;
    memset(local.below, 0x5a, sizeof local.below);
    area = &local;
    run();
}
int main(int argc, char **argv) {
    const char *how = argv[1], *where = argv[2];
    if (!strcmp(where, "heap")) area = malloc(sizeof *area);
    if (!strcmp(where, "mapped")) area = mmap(0, sizeof *area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(area->below, 0x5a, sizeof area->below);
    void (*run)(void) = !strcmp(how, "handler") ? handled : coroutine;
    if (strcmp(how, "thread")) { if (!strcmp(where, "local")) inside(run); else run(); return 1; }
    pthread_attr_t a;
    pthread_t t;
    pthread_attr_init(&a);
    if (pthread_attr_setstack(&a, area->stack, sizeof area->stack) || pthread_create(&t, &a, thread, 0)) return 1;
    pthread_exit(0);
}
"#;

/// Waits until all threads sleep that have not ended.
fn rest(target: &Target) {
    let sleeps = || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", target.pid())).unwrap();
        let stats = threads.map(|t| std::fs::read_to_string(t.unwrap().path().join("stat")).unwrap());
        stats.into_iter().all(|s| s.rsplit_once(") ").unwrap().1.starts_with(['S', 'Z']))
    };
    while !sleeps() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn nothing_below_its_stack_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "small", PROGRAM, &["-pthread", "-Wl,-z,now"]);
    let patch = patch(&Elf::read(&program), "small", vec![returns("one", 7)]);
    for how in ["thread", "handler", "coroutine"] {
        for place in ["data", "heap", "mapped", "local"] {
            if (how, place) == ("thread", "local") {
                continue;
            }
            let mut target = Target::start_with(Command::new(&program).args([how, place]));
            rest(&target);
            let outcome = applier::apply(target.pid(), &patch, &Options::default());
            let outcome = outcome.unwrap_or_else(|e| panic!("{how} {place}: {e}"));
            assert_eq!(outcome, Outcome::Done, "{how} {place}");
            assert_eq!(target.ask(), "7 whole", "{how} {place}");
        }
    }
}

/// The same stack, with enough left of it.
#[test]
fn a_small_stack_is_used_where_it_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let source = PROGRAM.replace("> 2048", "> 12288");
    let program = compile(dir.path(), "roomy", &source, &["-pthread", "-Wl,-z,now"]);
    let patch = patch(&Elf::read(&program), "roomy", vec![returns("one", 7)]);
    for how in [
        ["thread", "data"],
        ["thread", "heap"],
        ["thread", "mapped"],
        ["handler", "heap"],
        ["handler", "local"],
    ] {
        let mut target = Target::start_with(Command::new(&program).args(how));
        rest(&target);
        assert_eq!(applier::apply(target.pid(), &patch, &Options::default()).unwrap(), Outcome::Done);
        assert_eq!(target.ask(), "7 whole", "{how:?}");
    }
}

/// Not a test of its own: runs in a process that is killed on the way.
#[test]
#[ignore = "runs as a child of another test"]
fn killed_applier() {
    let Ok(order) = std::env::var("UPATCH_TEST_BORROWS") else { return };
    let words: Vec<_> = order.split_whitespace().collect();
    let [pid, step, program] = words[..] else { panic!("{order}") };
    let fault = Some(Fault { step: step.parse().unwrap(), kind: FaultKind::Kill });
    let patch = patch(&Elf::read(Path::new(program)), "small", vec![returns("one", 7)]);
    let options = Options { fault, ..Options::default() };
    assert_eq!(applier::apply(pid.parse().unwrap(), &patch, &options).unwrap(), Outcome::Done);
}

#[test]
fn a_thread_on_a_stack_of_ours_comes_home_alone() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "home", PROGRAM, &["-pthread", "-Wl,-z,now"]);
    let patch = patch(&Elf::read(&program), "small", vec![returns("one", 7)]);
    for step in (0..).step_by(2) {
        let mut target = Target::start_with(Command::new(&program).args(["coroutine", "data"]));
        rest(&target);
        let order = format!("{} {step} {}", target.pid(), program.display());
        if !was_killed(
            &mut child_of_this("killed_applier", "UPATCH_TEST_BORROWS", &order),
            &format!("step {step}"),
        ) {
            assert!(step > 20);
            break;
        }
        let answer = target.ask();
        assert!(answer == "1 whole" || answer == "7 whole", "step {step}: {answer}");
        rest(&target);
        let again = applier::apply(target.pid(), &patch, &Options::default());
        assert!(
            matches!(again, Ok(Outcome::Done | Outcome::Already | Outcome::Busy(_))),
            "step {step}: {again:?}"
        );
        assert_ne!(target.ask().split(' ').nth(1), Some("wrong"), "step {step}");
    }
}
