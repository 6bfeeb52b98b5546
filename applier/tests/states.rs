//! Processes in odd states: patched, or a true answer; and left in the state they were in.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{Options, Outcome, ProcessError};
use common::{
    PAIR, Target, compile,
    image::{Elf, pair_patch, patch, returns},
};
use std::{
    os::unix::fs::FileExt,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

fn signal(pid: i32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn wait_for_state(target: &Target, state: &str) {
    let started = Instant::now();
    while target.state() != state {
        assert!(started.elapsed().as_secs() < 5, "state {} instead of {state}", target.state());
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_stopped_process_is_patched_and_stays_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    signal(target.pid(), "-STOP");
    wait_for_state(&target, "T");
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    sleep(Duration::from_millis(20));
    assert_eq!(target.state(), "T");
    target.send();
    signal(target.pid(), "-CONT");
    assert_eq!(target.read_line(), "11 22");
}

#[test]
fn one_that_a_debugger_has_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = patch(&Elf::read(&program), "p", vec![returns("one", 11)]);
    let target = Target::start(&program);
    let mut gdb = Command::new("gdb")
        .args(["-q", "-batch", "-p", &target.pid().to_string(), "-ex", "shell sleep 30"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while target.tracer() == "0" && started.elapsed().as_secs() < 20 {
        sleep(Duration::from_millis(5));
    }
    let result = applier::apply(target.pid(), &patch, &Options::default());
    let tracer = target.tracer();
    gdb.kill().unwrap();
    gdb.wait().unwrap();
    assert!(matches!(&result, Err(ProcessError::Traced { by }) if by.to_string() == tracer), "{result:?}");
}

#[test]
fn gone_and_zombie() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = patch(&Elf::read(&program), "p", vec![returns("one", 11)]);
    let mut target = Target::start(&program);
    let pid = target.pid();
    target.child.kill().unwrap();
    wait_for_state(&target, "Z");
    let zombie = applier::apply(pid, &patch, &Options::default());
    assert!(matches!(zombie, Err(ProcessError::Zombie)), "{zombie:?}");
    target.child.wait().unwrap();
    let gone = applier::apply(pid, &patch, &Options::default());
    assert!(matches!(gone, Err(ProcessError::Gone)), "{gone:?}");
    let other_start = Options { start_time: Some(1), ..Options::default() };
    let own = i32::try_from(std::process::id()).unwrap();
    assert!(matches!(applier::apply(own, &patch, &other_start), Err(ProcessError::Gone)));
}

const LEADER_ENDS: &str = r#"
#include <pthread.h>
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static void *rest(void *arg) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) printf("%d %d\n", one(), two());
    return arg;
}
int main(void) { pthread_t t; pthread_create(&t, 0, rest, 0); pthread_exit(0); }
"#;

#[test]
fn first_thread_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "leader", LEADER_ENDS, &["-pthread"]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    wait_for_state(&target, "Z");
    assert!(applier::find_processes(&patch.targets()).iter().any(|c| c.pid == target.pid()));
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), "11 22");
    assert_eq!(applier::inspect(target.pid()).unwrap().len(), 1);
    common::deactivate_patiently(target.pid(), &patch);
    assert_eq!(target.ask(), "1 2");
}

const VFORK: &str = r#"
#include <stdio.h>
#include <unistd.h>
#include <sys/wait.h>
__attribute__((noipa)) int one(void) { return 1; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) {
        printf("%d\n", one());
        if (one() == 1) {
            if (vfork() == 0) { usleep(700000); _exit(0); }
            wait(0);
        }
    }
}
"#;

#[test]
fn a_parent_in_vfork_is_told_so_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "vfork", VFORK, &[]);
    let patch = patch(&Elf::read(&program), "p", vec![returns("one", 11)]);
    let mut target = Target::start(&program);
    wait_for_state(&target, "D");
    let started = Instant::now();
    let outcome = applier::apply(target.pid(), &patch, &Options::default()).unwrap();
    assert!(matches!(outcome, Outcome::Busy(_)), "{outcome:?}");
    assert!(started.elapsed().as_millis() < 300);
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), "11");
}

const SECCOMP: &str = r#"
#include <stdio.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <sys/syscall.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog p = { 5, f };
    char c;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p)) return 1;
    while (__builtin_expect(syscall(SYS_read, 0, &c, 1) == 1, 1)) printf("%d %d\n", one(), two());
}
"#;

#[test]
fn a_seccomp_filter_that_kills() {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("#define _GNU_SOURCE\n#include <unistd.h>\n{SECCOMP}");
    let program = compile(dir.path(), "seccomp", &source, &[]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    assert_eq!(common::apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), "11 22");
    common::deactivate_patiently(target.pid(), &patch);
    assert_eq!(target.ask(), "1 2");
}

#[test]
fn an_entry_that_something_else_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let mut wrong = patch(&Elf::read(&program), "p", vec![returns("one", 11)]);
    wrong.elfs[0].image.redirects[0].original[1] ^= 1;
    let mut target = Target::start(&program);
    let result = applier::apply(target.pid(), &wrong, &Options::default());
    assert!(
        matches!(&result, Err(ProcessError::EntryChanged { function, .. }) if function == "one"),
        "{result:?}"
    );
    assert_eq!(target.ask(), "1 2");
    assert!(!target.maps().contains("upatch:"));
}

#[test]
fn a_symbol_that_nobody_has_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let new = common::image::New {
        name: "one",
        code: vec![0xff, 0x25, 0, 0, 0, 0],
        fields: vec![(2, common::image::Field::Import("no_such_function"))],
        covered: 5,
        frame: false,
    };
    let patch = patch(&Elf::read(&program), "p", vec![new]);
    let target = Target::start(&program);
    let result = applier::apply(target.pid(), &patch, &Options::default());
    assert!(matches!(&result, Err(ProcessError::Unresolved { symbol }) if symbol == "no_such_function"));
    assert!(!target.maps().contains("upatch:"));
}

/// A thread that waits for a file system that does not answer, as network file systems do when the network is
/// gone: the process is left as it was, at once, with the reason; it is patched when the answer comes.
#[test]
fn a_thread_that_waits_for_a_file_system_that_hangs() {
    let source = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static int fuse, hangs[2], answers[2];
static char buffer[1 << 17];
static void answer(unsigned long id, int error, const void *data, unsigned len) {
    struct { struct fuse_out_header h; char data[64]; } out = { { sizeof out.h + len, error, id } };
    memcpy(out.data, data, len);
    if (write(fuse, &out, out.h.len) < 0) perror("answer");
}
static void *serve(void *p) {
    struct fuse_in_header *in = (void *)buffer;
    while (read(fuse, buffer, sizeof buffer) > 0) {
        if (in->opcode == FUSE_INIT) {
            struct fuse_init_out out = { .major = 7, .minor = 31, .max_write = 4096 };
            answer(in->unique, 0, &out, sizeof out);
        } else if (in->opcode == FUSE_LOOKUP) {
            unsigned long id = in->unique;
            char c = 0;
            if (write(hangs[1], &c, 1) < 0 || read(answers[0], &c, 1) < 0) return 0;
            answer(id, -2, 0, 0);
        }
    }
    return p;
}
static void *look(void *path) { struct stat s; for (;;) { stat(path, &s); pause(); } return path; }
int main(int argc, char **argv) {
    char options[99], file[999], c;
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    if (pipe(hangs) || pipe(answers) || unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) return 1;
    fuse = open("/dev/fuse", O_RDWR);
    sprintf(options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (fuse < 0 || mount("hangs", argv[1], "fuse", 0, options)) {
        do puts("none"); while (getchar() != EOF);
        return 0;
    }
    pthread_create(&t, 0, serve, 0);
    sprintf(file, "%s/file", argv[1]);
    pthread_create(&t, 0, look, file);
    if (read(hangs[0], &c, 1) < 0) return 1;
    for (int asked = 0; getchar() != EOF; asked++) {
        if (asked == 2 && write(answers[1], &c, 1) < 0) return 1;
        printf("%d %d\n", one(), two());
    }
}
"#;
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "hangs", source, &["-pthread"]);
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let patch = pair_patch(&program, "hangs");
    let mut target = Target::start_with(Command::new(&program).arg(&mount));
    if target.ask() == "none" {
        return;
    }
    let started = Instant::now();
    let outcome = applier::apply(target.pid(), &patch, &Options::default()).unwrap();
    let Outcome::Busy(busy) = outcome else { panic!("{outcome:?}") };
    assert!(busy.why.contains("sleeps uninterruptibly"), "{busy}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(target.ask(), "1 2");
    common::apply_patiently(target.pid(), &patch, &Options::default());
    assert_eq!(target.ask(), "11 22");
}

/// A uprobe or breakpoint that somebody sets on a patch in force, and one that is taken away, which leaves
/// the byte of the file behind.
#[test]
fn what_others_leave_at_an_entry_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    let pid = target.pid();
    let memory = || std::fs::File::options().read(true).write(true).open(format!("/proc/{pid}/mem")).unwrap();
    for left in [0xcc, patch.elfs[0].image.redirects[0].original[0]] {
        common::apply_patiently(pid, &patch, &Options::default());
        let site = applier::inspect(pid).unwrap()[0].control.entries[0].site;
        memory().write_all_at(&[left], site).unwrap();
        let seen = applier::inspect(pid).unwrap();
        assert!(seen[0].in_force && seen[0].disturbed == [site], "{seen:?}");
        let outcome = common::apply_patiently(pid, &patch, &Options::default());
        assert!(matches!(outcome, Outcome::DoneBut(_)), "{outcome:?}");
        assert_eq!(target.ask(), "11 22");
        assert_eq!(applier::apply(pid, &patch, &Options::default()).unwrap(), Outcome::Already);
        memory().write_all_at(&[left], site).unwrap();
        common::deactivate_patiently(pid, &patch);
        assert_eq!(target.ask(), "1 2");
    }
    // On the old code it is not ours to take away.
    let site = applier::inspect(pid).unwrap()[0].control.entries[0].site;
    memory().write_all_at(&[0xcc], site).unwrap();
    let result = applier::apply(pid, &patch, &Options::default());
    assert!(matches!(result, Err(ProcessError::EntryChanged { .. })), "{result:?}");
}
