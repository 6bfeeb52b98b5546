//! What a parent sees of its child being patched: nothing.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    Target, apply_patiently, compile, deactivate_patiently,
    image::{Elf, patch, returns},
};
use std::{process::Command, time::Duration};

/// The parent waits for everything that can be told of a child, by signals and by `waitid`. It passes what it
/// reads on to the child, and answers with the child's answer and what it has been told meanwhile: stops,
/// times that it went on, other reports, signals.
const FAMILY: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static volatile int signals, stops, goes, others;
static void on(int s) { signals++; }
static void *watch(void *arg) {
    siginfo_t info;
    for (;;) {
        if (waitid(P_ALL, 0, &info, WSTOPPED | WCONTINUED | WEXITED)) continue;
        if (info.si_code == CLD_STOPPED) stops++;
        else if (info.si_code == CLD_CONTINUED) goes++;
        else others++;
    }
    return arg;
}
static int child(int in, int out) {
    char c, text[20];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(in, &c, 1) == 1) {
        sprintf(text, "%2d %2d", one(), two());
        if (write(out, text, 5) != 5) return 1;
    }
    return 0;
}
int main(void) {
    int to[2], from[2];
    char c, text[6] = "";
    struct sigaction a = { .sa_handler = on, .sa_flags = SA_RESTART };
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    if (pipe(to) || pipe(from)) return 1;
    pid_t pid = fork();
    if (pid == 0) return child(to[0], from[1]);
    sigaction(SIGCHLD, &a, 0);
    pthread_create(&t, 0, watch, 0);
    while (read(0, &c, 1) == 1) {
        if (c == 'x' && (write(to[1], &c, 1) != 1 || read(from[0], text, 5) != 5)) return 1;
        printf("%d %s, %d %d %d %d\n", pid, text, stops, goes, others, signals);
    }
}
"#;

struct Family {
    parent: Target,
    child: i32,
    _dir: tempfile::TempDir,
    patch: applier::LoadedPatch,
}

impl Family {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = compile(dir.path(), "family", FAMILY, &["-pthread"]);
        let patch = patch(&Elf::read(&program), "family", vec![returns("one", 11), returns("two", 22)]);
        let mut parent = Target::start(&program);
        let child = parent.ask().split(' ').next().unwrap().parse().unwrap();
        Self { parent, child, _dir: dir, patch }
    }

    /// The child's answer and what the parent was told.
    fn ask(&mut self) -> String {
        self.parent.ask().split_once(' ').unwrap().1.to_owned()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.to_string()]).status().unwrap().success());
    }

    fn state(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child)).unwrap();
        stat.rsplit_once(") ").unwrap().1[..1].to_owned()
    }
}

#[test]
fn of_a_child_that_runs() {
    let mut family = Family::start();
    for round in 0..50 {
        apply_patiently(family.child, &family.patch, &applier::Options::default());
        assert_eq!(family.ask(), "11 22, 0 0 0 0", "round {round}");
        deactivate_patiently(family.child, &family.patch);
        assert_eq!(family.ask(), " 1  2, 0 0 0 0", "round {round}");
    }
}

/// It knows already that the child is stopped, and is told once that it goes on.
#[test]
fn of_a_child_that_is_stopped() {
    let mut family = Family::start();
    family.signal("-STOP");
    while family.state() != "T" {
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..5 {
        apply_patiently(family.child, &family.patch, &applier::Options::default());
        deactivate_patiently(family.child, &family.patch);
    }
    apply_patiently(family.child, &family.patch, &applier::Options::default());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(family.state(), "T");
    family.signal("-CONT");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(family.ask(), "11 22, 1 1 0 2");
}
