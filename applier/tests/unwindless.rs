//! Threads in code that has no unwind information: their stacks are searched for return addresses.
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
    image::{Elf, New, patch, returns, with_prologue},
};
use std::process::Command;

/// `through` calls a function, and `holding` makes a system call with its return address in a register;
/// neither has unwind information.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
void through(void (*)(void)), holding(char *);
asm(".text\n.globl through, holding\n.type through,@function\n.type holding,@function\n"
    "through: push %rbx\nmov %rdi,%rbx\ncall *%rbx\npop %rbx\nret\n.size through,.-through\n"
    "holding: pop %rcx\npush %r12\nmov %rcx,%r12\nmov %rdi,%rsi\nxor %edi,%edi\nmov $1,%edx\nxor %eax,%eax\n"
    "syscall\nmov %r12,%rcx\npop %r12\npush %rcx\nret\n.size holding,.-holding\n");
static char got;
static void read_one(void) { if (read(0, &got, 1) != 1) exit(0); }
__attribute__((noipa)) int two(void) { return 2; }
__attribute__((noipa)) int one(void) { through(read_one); return two() - 1; }
__attribute__((noipa)) int held(void) { holding(&got); return got ? two() + 1 : 0; }
static void again(int signal) { (void)signal; through(read_one); }
static void answer(void) { printf("%d %d\n", two(), got == 'x'); }
static void *plain(void *arg) { for (;;) { through(read_one); answer(); } return arg; }
static void coroutine(void) { plain(NULL); }
int main(int argc, char **argv) {
    const char *how = argv[1];
    setvbuf(stdout, 0, _IONBF, 0);
    if (!strcmp(how, "main")) plain(NULL);
    if (!strcmp(how, "one")) for (;;) { one(); answer(); }
    if (!strcmp(how, "register")) for (;;) { held(); answer(); }
    if (!strcmp(how, "coroutine")) {
        static ucontext_t there;
        getcontext(&there);
        there.uc_stack.ss_size = 1 << 20;
        there.uc_stack.ss_sp = malloc(1 << 20);
        makecontext(&there, coroutine, 0);
        setcontext(&there);
    }
    if (!strcmp(how, "handler")) {
        stack_t s = { .ss_sp = malloc(65536), .ss_size = 65536 };
        struct sigaction a = { .sa_handler = again, .sa_flags = SA_ONSTACK };
        if (sigaltstack(&s, 0) || sigaction(SIGUSR1, &a, 0)) return 1;
        for (;;) { raise(SIGUSR1); answer(); }
    }
    pthread_t t;
    pthread_create(&t, 0, plain, 0);
    pthread_join(t, 0);
}
"#;

struct Scene {
    _dir: tempfile::TempDir,
    program: std::path::PathBuf,
    target: Target,
}

fn start(how: &str) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "without", PROGRAM, &["-pthread"]);
    let target = Target::start_with(Command::new(&program).arg(how));
    Scene { _dir: dir, program, target }
}

/// What comes of a patch of `function` while the thread waits for input.
fn apply(scene: &mut Scene, function: New) -> Outcome {
    let patch = patch(&Elf::read(&scene.program), "without", vec![function]);
    scene.target.rest();
    applier::apply(scene.target.pid(), &patch, &Options::default()).unwrap()
}

#[test]
fn a_stack_without_an_address_in_old_code_is_no_obstacle() {
    for how in ["main", "thread", "one"] {
        let mut scene = start(how);
        assert_eq!(scene.target.ask(), "2 1");
        assert_eq!(apply(&mut scene, returns("two", 22)), Outcome::Done, "{how}");
        assert_eq!(scene.target.ask(), "22 1", "{how}");
    }
}

#[test]
fn a_return_address_beyond_is_found() {
    let mut scene = start("one");
    let function = with_prologue("one", 11, &scene.program);
    let Outcome::Busy(busy) = apply(&mut scene, function) else { panic!("one is on the stack") };
    assert_eq!(busy.function.as_deref(), Some("one"), "{busy}");
    assert_eq!(scene.target.ask(), "2 1");
}

#[test]
fn a_return_address_in_a_register_is_found() {
    let mut scene = start("register");
    let function = with_prologue("held", 11, &scene.program);
    let Outcome::Busy(busy) = apply(&mut scene, function) else { panic!("held waits") };
    assert_eq!(busy.function.as_deref(), Some("held"), "{busy}");
    assert_eq!(scene.target.ask(), "2 1");
}

#[test]
fn on_a_stack_that_is_not_the_threads_own_nothing_is_believed() {
    for how in ["coroutine", "handler"] {
        let mut scene = start(how);
        let Outcome::Busy(busy) = apply(&mut scene, returns("two", 22)) else { panic!("{how}: patched") };
        assert!(busy.function.is_none() && busy.why.contains("no unwind information"), "{how}: {busy}");
        assert_eq!(scene.target.ask(), "2 1", "{how}");
    }
}
