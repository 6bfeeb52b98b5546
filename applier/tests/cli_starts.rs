//! Processes that start while the service runs. It looks for new ones so rarely here that only what it does
//! as they start counts.

mod common;

use common::{
    compile,
    stage::{Stage, in_time, is_root, output, stage_with, until},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Calls both functions from a constructor and from `main`.
const ONCE: &str = r#"
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int counter = 100;
__attribute__((constructor)) static void before(void) { printf("%d %d|", one(), two()); }
int main(void) { printf("%d %d\n", one(), two()); }
"#;

const OLD: &str = "1 2|1 2\n";
const NEW: &str = "11 22|11 22\n";

fn ready(test: &str, flags: &[&str]) -> Stage {
    let stage = stage_with(test, ONCE, flags);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    stage
}

#[test]
fn patched_before_its_first_line() {
    if !is_root() {
        return;
    }
    let stage = ready("first", &[]);
    assert_eq!(stage.output(), OLD);
    let daemon = stage.serve();
    stage.run("status HP1").says("service: running").says("1 file watched");
    for round in 0..50 {
        assert_eq!(stage.output(), NEW, "round {round}");
    }
    // Commands are obeyed from the moment at which they end.
    for _ in 0..5 {
        stage.run("deactive HP1").exits(0);
        assert_eq!(stage.output(), OLD);
        stage.run("active HP1").exits(0);
        assert_eq!(stage.output(), NEW);
    }
    until("it is in the log", || stage.run("log").out.contains("patched"));
    drop(daemon);
    assert_eq!(stage.output(), OLD, "nobody is left who would wait for the service");
    stage.run("status HP1").says("service: not running");
}

#[test]
fn programs_of_every_kind() {
    if !is_root() {
        return;
    }
    for (name, flags) in [
        ("k_fixed", &["-no-pie", "-fno-pie"][..]),
        ("k_static", &["-static"]),
        ("k_static_pie", &["-static-pie", "-fPIE"]),
        ("k_norelro", &["-Wl,-z,norelro"]),
        ("k_now", &["-Wl,-z,now"]),
    ] {
        let stage = ready(name, flags);
        let _daemon = stage.serve();
        for _ in 0..5 {
            assert_eq!(stage.output(), NEW, "{name}");
        }
    }
}

#[test]
fn thousands_from_a_script() {
    if !is_root() {
        return;
    }
    let stage = ready("script", &[]);
    let _daemon = stage.serve();
    let script = format!("i=0; while [ $i -lt 2000 ]; do {}; i=$((i+1)); done", stage.program.display());
    let said = output(Command::new("sh").args(["-c", &script]));
    let old = said.lines().filter(|l| *l != NEW.trim()).count();
    assert_eq!((said.lines().count(), old), (2000, 0));
    // Several at once.
    let script = format!("seq 500 | xargs -P 8 -n 1 sh -c {}", stage.program.display());
    let said = output(Command::new("sh").args(["-c", &script]));
    let old = said.lines().filter(|l| *l != NEW.trim()).count();
    assert_eq!((said.lines().count(), old), (500, 0));
}

/// A program that is a script's interpreter: the kernel opens it where nobody may attach yet.
#[test]
fn the_interpreter_of_a_script() {
    if !is_root() {
        return;
    }
    for (name, flags) in
        [("i_plain", &[][..]), ("i_static", &["-static"]), ("i_static_pie", &["-static-pie", "-fPIE"])]
    {
        let stage = ready(name, flags);
        let script = stage.dir.path().join("script");
        fs::write(&script, format!("#!{}\n", stage.program.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let _daemon = stage.serve();
        for round in 0..200 {
            let said = in_time(|| output(&mut Command::new(&script)));
            assert!(said.is_none_or(|s| s == NEW), "{name} round {round}");
        }
    }
}

/// What it takes to be in time is given back: processors and priority of the process are what they were.
#[test]
fn the_interpreter_of_a_script_may_use_all_processors() {
    if !is_root() {
        return;
    }
    let source = r#"
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int counter = 100;
int main(void) {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    printf("%d %d %d %d\n", one(), two(), CPU_COUNT(&set), sched_getscheduler(0));
}
"#;
    let stage = stage_with("i_cpus", source, &[]);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let script = stage.dir.path().join("script");
    fs::write(&script, format!("#!{}\n", stage.program.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let all = output(&mut Command::new(&stage.program)).replace("1 2 ", "11 22 ");
    let _daemon = stage.serve();
    for round in 0..50 {
        let said = in_time(|| output(&mut Command::new(&script)));
        assert!(said.is_none_or(|s| s == all), "round {round}");
        // One processor of several, and a rank of its own.
        let mut ranked = Command::new("taskset");
        let said = in_time(|| output(ranked.args(["-c", "0", "chrt", "-f", "7"]).arg(&script)));
        assert!(said.as_ref().is_none_or(|s| s == "11 22 1 1\n"), "round {round}: {said:?}");
    }
    let notes = stage.root().join(patchfile::paths::RUN).join("pinned");
    // Each worker keeps its note, and writes into it while there is something to give back.
    let notes = fs::read_dir(notes).into_iter().flatten();
    let notes: Vec<_> = notes.filter_map(|e| fs::read_to_string(e.unwrap().path()).ok()).collect();
    assert!(notes.iter().all(|n| n.is_empty() || n.starts_with("0\n")), "{notes:?}");
}

/// `execve` from a thread that is not the first, from a process that is patched already, with a system call
/// filter, and with the signal blocked that marks the way.
#[test]
fn executed_in_odd_ways() {
    if !is_root() {
        return;
    }
    let source = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
static char *const *args;
static void *run(void *p) { execv(args[0], args); return p; }
int main(int argc, char **argv) {
    args = argv + 2;
    if (!strcmp(argv[1], "thread")) {
        pthread_t t;
        pthread_create(&t, 0, run, 0);
        for (;;) pause();
    }
    if (!strcmp(argv[1], "filter")) {
        struct sock_filter no_kill[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_tkill, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog filter = { 4, no_kill };
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 3;
    }
    if (!strcmp(argv[1], "blocked")) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, 0);
    }
    if (!strcmp(argv[1], "ignored")) for (int i = 1; i < 32; i++) signal(i, SIG_IGN);
    if (!strcmp(argv[1], "fails")) {
        char *many[] = { argv[2], malloc(1 << 20), 0 };
        memset(many[1], 'x', (1 << 20) - 1);
        many[1][(1 << 20) - 1] = 0;
        if (execv(argv[2], many) == 0 || errno != E2BIG) return 4;
    }
    run(0);
    return 2;
}
"#;
    let stage = ready("odd", &[]);
    let odd = compile(stage.dir.path(), "caller", source, &["-pthread"]);
    let _daemon = stage.serve();
    for way in ["plain", "thread", "filter", "blocked", "ignored", "fails"] {
        for round in 0..10 {
            let said = output(Command::new(&odd).arg(way).arg(&stage.program));
            assert_eq!(said, NEW, "{way}, round {round}");
        }
    }
}

/// The kernel sends a signal to whoever makes a file longer than it may be (setrlimit(2)), and gives no
/// descriptor to whoever has too many: both can be so from the first instruction.
#[test]
fn with_narrow_limits() {
    if !is_root() {
        return;
    }
    let stage = ready("narrow", &[]);
    let _daemon = stage.serve();
    for limit in ["-f 0", "-n 4", "-f 0 -n 4"] {
        let line =
            format!("for l in {limit}; do case $l in -*) o=$l;; *) ulimit $o $l;; esac; done; exec \"$0\"");
        let said = output(Command::new("sh").args(["-c", &line]).arg(&stage.program).stderr(Stdio::null()));
        assert_eq!(said, NEW, "ulimit {limit}");
    }
}

/// What a process that starts children sees of it: nothing.
#[test]
fn the_parent_sees_no_stop_and_the_child_no_signal() {
    if !is_root() {
        return;
    }
    // Counts what waitpid and SIGCHLD report; the child tells its pending and ignored signals.
    let source = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile int chld;
static void on(int s, siginfo_t *i, void *p) { chld += i->si_code != CLD_EXITED; }
int main(int argc, char **argv) {
    struct sigaction a = { .sa_sigaction = on, .sa_flags = SA_SIGINFO | SA_RESTART };
    sigaction(SIGCHLD, &a, 0);
    int odd = 0;
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        if (!child) { execv(argv[1], argv + 1); _exit(9); }
        int status;
        for (;;) {
            if (waitpid(child, &status, WUNTRACED | WCONTINUED) != child) { odd++; continue; }
            if (WIFEXITED(status)) break;
            odd++;
        }
        if (WEXITSTATUS(status)) odd += 1000;
    }
    fprintf(stderr, "odd %d, stops %d\n", odd, chld);
    return odd || chld;
}
"#;
    let stage = ready("parent", &[]);
    let parent = compile(stage.dir.path(), "caller", source, &[]);
    let _daemon = stage.serve();
    let said = output(Command::new(&parent).arg(&stage.program));
    assert_eq!(said, NEW.repeat(100));
}

#[test]
fn children_of_tracers_are_left_alone() {
    if !is_root() || Command::new("strace").arg("-V").output().is_err() {
        return;
    }
    let stage = ready("traced", &[]);
    let _daemon = stage.serve();
    let trace = stage.dir.path().join("trace");
    let said = output(Command::new("strace").args(["-f", "-o"]).arg(&trace).arg(&stage.program));
    assert_eq!(said, OLD, "who is traced keeps its old code");
    let trace = fs::read_to_string(&trace).unwrap();
    assert!(!trace.contains("SIG") && trace.contains("exited with 0"), "{trace}");
}

/// The service is killed again and again while programs start: each of them runs to its end, on old or new
/// code.
#[test]
fn the_service_is_killed_at_any_moment() {
    if !is_root() {
        return;
    }
    let stage = ready("die", &[]);
    let script = format!(
        "i=0; while [ $i -lt 600 ]; do {} || echo failed with $?; i=$((i+1)); done",
        stage.program.display()
    );
    let running = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let reader = std::thread::spawn(move || running.wait_with_output().unwrap());
    let mut services = 0;
    while !reader.is_finished() {
        let daemon = stage.serve();
        std::thread::sleep(Duration::from_millis(20 + services * 7 % 90));
        drop(daemon);
        services += 1;
    }
    let said = reader.join().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.lines().count(), 600);
    // A service finds those that began without one, and may be at one between its two answers.
    let (old, new, between) = (OLD.trim(), NEW.trim(), "1 2|11 22");
    let other: Vec<&str> = said.lines().filter(|l| ![old, new, between].contains(l)).collect();
    let patched = said.lines().filter(|l| *l == new).count();
    assert!(other.is_empty() && patched > 0 && services > 2, "{patched} new, {services} services: {other:?}");
    // And a service that stands still holds nobody up for long, whatever it was at.
    for round in 0..4 {
        let daemon = stage.serve();
        let pid = daemon.0.id().to_string();
        let begun = Instant::now();
        let mut stop = Command::new("kill").args(["-STOP", &pid]).spawn().unwrap();
        if round % 2 == 0 {
            stop.wait().unwrap();
        }
        let said = stage.output();
        stop.wait().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "{said} after {:?}", begun.elapsed());
        assert!(said == OLD || said == NEW, "{said}");
    }
}
