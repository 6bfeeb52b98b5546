//! Coroutines, fibers and contexts that are suspended in a function hold its patch up; those that are
//! suspended elsewhere do not.
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
use std::process::Command;

/// A coroutine goes on with each line of input, from one stop to the next: in `one`, in `two`, in neither,
/// and over. The argument says how it is switched to. `used` and the other thread leave old return addresses
/// behind.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#if defined SWITCH
void go(void **from, void *to);
asm(".text\n.globl go\n.type go,@function\ngo: push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\n" SWITCH "\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.size go,.-go\n");
static void *there, *here;
#elif defined JUMP
static jmp_buf there, here;
static ucontext_t first, start;
#else
static ucontext_t there, here;
#endif
static volatile int where;
static __attribute__((noipa)) void yield(void) {
#if defined SWITCH
    go(&there, here);
#elif defined JUMP
    if (!_setjmp(there)) _longjmp(here, 1);
#else
    swapcontext(&there, &here);
#endif
}
static void handler(int s) { (void)s; }
static __attribute__((noipa)) void used(void (*f)(void)) { char room[2000]; memset(room, where, sizeof room); f(); asm volatile("" : : "r"(room) : "memory"); }
__attribute__((noipa)) int two(void) { yield(); return where; }
__attribute__((noipa)) int one(void) { where = 1; used(yield); where = 2; two(); used(yield); return where; }
static void nothing(void) { raise(SIGUSR1); }
__attribute__((noipa)) int three(void) { used(nothing); return where; }
static void coroutine(void) {
    for (;;) { three(); one(); where = 3; yield(); }
}
static void *thread(void *arg) { used(nothing); three(); return arg; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    signal(SIGUSR1, handler);
    pthread_t t;
    if (pthread_create(&t, 0, thread, 0) || pthread_join(t, 0)) return 1;
#ifdef WRITE_ONLY
    char *stack = mmap(0, 1 << 16, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) return 1;
#else
    char *stack = malloc(1 << 16);
#endif
#if defined SWITCH
    void **top = (void **)(stack + (1 << 16)) - 2;
    top[0] = coroutine;
    there = top - 6;
#elif defined JUMP
    stack_t s;
    sigaltstack(0, &s);
    getcontext(&start);
    start.uc_stack.ss_sp = stack;
    start.uc_stack.ss_size = 1 << 16;
    makecontext(&start, coroutine, 0);
    int begun = 0;
#else
    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = 1 << 16;
    makecontext(&there, coroutine, 0);
#endif
    while (getchar() != EOF) {
#if defined SWITCH
        go(&here, there);
#elif defined JUMP
        if (!_setjmp(here)) { if (begun++) _longjmp(there, 1); else swapcontext(&first, &start); }
#else
        swapcontext(&here, &there);
#endif
        printf("%d\n", where);
    }
}
"#;

/// What comes of patches of `one` and `two` at each stop of the coroutine, and of `three`, which it has
/// called.
fn suspended(name: &str, flags: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), name, PROGRAM, flags);
    let elf = Elf::read(&program);
    let of = |function: &'static str| patch(&elf, function, vec![with_prologue(function, 5, &program)]);
    let (one, two) = (of("one"), of("two"));
    let mut target = Target::start_with(&mut Command::new(&program));
    // Started, it has answered once.
    for (stop, blocked) in
        [("1", [true, false]), ("2", [true, true]), ("2", [true, false]), ("3", [false, false])]
    {
        if (stop, blocked) != ("1", [true, false]) {
            assert_eq!(target.ask(), stop, "{name}");
        }
        target.rest();
        for (patch, blocked) in [&one, &two].into_iter().zip(blocked) {
            let options = Options::default();
            match applier::apply(target.pid(), patch, &options).unwrap() {
                Outcome::Busy(busy) if blocked => {
                    assert!(busy.why.contains("a suspended stack"), "{name}, at {stop}: {busy}");
                    assert_eq!(busy.function.as_deref(), Some(patch.name.as_str()), "{name}");
                }
                Outcome::Done if !blocked => {
                    let back = applier::deactivate(target.pid(), patch.uuid, &options).unwrap();
                    assert_eq!(back, Outcome::Done, "{name}, at {stop}");
                }
                outcome => panic!("{name}, {} at {stop}: {outcome:?}", patch.name),
            }
        }
    }
    // It has been there, and so has a thread that is over.
    let three = patch(&elf, "three", vec![returns("three", 9)]);
    assert_eq!(applier::apply(target.pid(), &three, &Options::default()).unwrap(), Outcome::Done, "{name}");
    for stop in ["1", "2", "2", "3"] {
        assert_eq!(target.ask(), stop, "{name}");
    }
}

#[test]
fn contexts_of_the_c_library() {
    suspended("context", &["-pthread"]);
}

#[test]
fn jump_buffers_of_the_c_library() {
    suspended("jump", &["-pthread", "-DJUMP"]);
}

#[test]
fn contexts_in_a_static_program() {
    suspended("alone", &["-pthread", "-static"]);
}

/// With old return addresses about, it may only be busy for too long.
fn by_hand(name: &str, switch: &str, flag: &str) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), name, PROGRAM, &["-pthread", &format!("-DSWITCH=\"{switch}\""), flag]);
    let patch = patch(&Elf::read(&program), "one", vec![with_prologue("one", 5, &program)]);
    let mut target = Target::start(&program);
    for stop in ["2", "2"] {
        target.rest();
        let Outcome::Busy(busy) = applier::apply(target.pid(), &patch, &Options::default()).unwrap() else {
            panic!("{name}, before {stop}: patched")
        };
        assert!(busy.why.contains("a suspended stack"), "{name}: {busy}");
        assert_eq!(target.ask(), stop);
    }
}

#[test]
fn stacks_that_a_program_switches_itself() {
    by_hand("register", "mov %rsi,%rsp", "-DREADABLE");
    by_hand("memory", "mov %rsi,-8(%rsp)\\nlea -8(%rsp),%rax\\nmov (%rax),%rsp", "-DREADABLE");
}

/// Memory that a program may write and not read is read like any other on x86, but not by
/// process_vm_readv(2).
#[test]
fn stacks_in_memory_that_may_only_be_written() {
    by_hand("written", "mov %rsi,%rsp", "-DWRITE_ONLY");
}

/// Old return addresses are on the stacks of threads too, of such as run and of such as are over; nobody goes
/// back to them.
#[test]
fn what_threads_have_left_behind_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let source = PROGRAM.replace("three(); one()", "one()");
    let program = compile(dir.path(), "left", &source, &["-pthread", "-DSWITCH=\"mov %rsi,%rsp\""]);
    let patch = patch(&Elf::read(&program), "three", vec![returns("three", 9)]);
    let target = Target::start(&program);
    target.rest();
    assert_eq!(applier::apply(target.pid(), &patch, &Options::default()).unwrap(), Outcome::Done);
}
