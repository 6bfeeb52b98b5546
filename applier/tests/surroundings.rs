//! Processes in narrow places, and what they must have as before: limits, memory, registers, signals.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedPatch, Options, Outcome, ProcessError};
use common::{
    PAIR, Target, apply_patiently, compile, deactivate_patiently,
    image::{Elf, pair_patch, patch, returns},
};
use std::{path::Path, process::Command};

/// In, and out again.
fn works(target: &mut Target, patch: &LoadedPatch) {
    assert_eq!(apply_patiently(target.pid(), patch, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), "11 22");
    deactivate_patiently(target.pid(), patch);
    assert_eq!(target.ask(), "1 2");
}

/// Started by a shell that does `before` first.
fn started(before: &str, program: &Path) -> Target {
    Target::start_with(Command::new("sh").args(["-c", &format!("{before} exec \"$0\"")]).arg(program))
}

#[test]
fn a_stack_without_limit_turns_the_memory_map_around() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [&["-fPIE", "-pie"][..], &["-fno-pie", "-no-pie"]] {
        let program = compile(dir.path(), "pair", PAIR, flags);
        works(&mut started("ulimit -s unlimited &&", &program), &pair_patch(&program, "p"));
    }
}

#[test]
fn no_address_space_left_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "p");
    let mut free = Target::start(&program);
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", free.pid())).unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    works(&mut free, &patch);
    // Room for two pages more than it has: one less than any part of a patch.
    let mut target = started(&format!("ulimit -v {} &&", 4 * pages + 8), &program);
    let before = target.maps();
    let files = || std::fs::read_dir(format!("/proc/{}/fd", target.pid())).unwrap().count();
    let count = files();
    let result = applier::apply(target.pid(), &patch, &Options::default());
    assert!(matches!(&result, Err(e) if e.to_string().contains("Cannot allocate memory")), "{result:?}");
    assert_eq!((target.maps(), files()), (before, count));
    assert_eq!(target.ask(), "1 2");
}

/// Where private memory is limited, the last thing that an image needs is what there is no room for: it goes
/// again, all of it. Also the error of a system that commits to no more than it has (`vm.overcommit_memory`
/// 2), which is not for a test to set.
#[test]
fn no_private_memory_left_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "private");
    let mut target = Target::start(&program);
    let limit = |bytes: &str| {
        let to = format!("--data={bytes}:unlimited");
        let mut command = Command::new("prlimit");
        assert!(command.args(["--pid", &target.pid().to_string(), &to]).status().unwrap().success());
    };
    let files = || std::fs::read_dir(format!("/proc/{}/fd", target.pid())).unwrap().count();
    limit("4096");
    let before = (target.maps(), files());
    for _ in 0..3 {
        let result = applier::apply(target.pid(), &patch, &Options::default());
        assert!(matches!(&result, Err(e) if e.to_string().contains("Cannot allocate memory")), "{result:?}");
        assert_eq!((target.maps(), files()), before);
    }
    limit("unlimited");
    assert_eq!(target.ask(), "1 2");
    works(&mut target, &patch);
}

/// 700 MB of data make a module with far ends.
const HUGE: &str = "static char big[700 << 20]; int keeps(int i) { return big[i]; }\n";

#[test]
fn a_huge_module() {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("{HUGE}{PAIR}");
    for flags in [&["-fPIE", "-pie"][..], &["-fno-pie", "-no-pie"]] {
        let program = compile(dir.path(), "huge", &source, flags);
        works(&mut Target::start(&program), &pair_patch(&program, "p"));
    }
}

/// Takes all addresses within three gigabytes; a second byte of input frees sixteen pages.
const FULL: &str = r#"
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static const uintptr_t page = 4096, reach = 3ul << 30;
int main(void) {
    uintptr_t here = (uintptr_t)main & ~(page - 1), hole = 0;
    uintptr_t low = here > reach ? here - reach : 65536, high = here + reach;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    setvbuf(stdout, 0, _IONBF, 0);
    for (uintptr_t size = 1ul << 30; size >= page; size >>= 6)
        for (uintptr_t at = low & -size; at < high; at += size)
            if (mmap((void *)at, size, PROT_NONE, flags, -1, 0) == (void *)at && size == 1ul << 24)
                hole = at;
    while (getchar() != EOF) {
        printf("%d %d\n", one(), two());
        if (hole && one() != 1) continue;
        static int asked;
        if (++asked == 2) munmap((void *)hole, 16 * page);
    }
}
"#;

#[test]
fn memory_full_near_the_module() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "full", FULL, &["-fPIE", "-pie"]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    let result = applier::apply(target.pid(), &patch, &Options::default());
    assert!(matches!(&result, Err(ProcessError::NoMemoryNear { .. })), "{result:?}");
    assert_eq!(target.ask(), "1 2");
    target.rest();
    works(&mut target, &patch);
}

#[test]
fn other_roots_users_and_process_ids() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &["-static"]);
    let patch = pair_patch(&program, "p");
    let mut inside = Command::new("chroot");
    inside.arg(dir.path()).arg("/pair");
    let mut spaces = Command::new("unshare");
    spaces.args(["--pid", "--fork", "--user", "--map-root-user", "--net", "--ipc", "--uts"]).arg(&program);
    for mut command in [inside, spaces] {
        let mut target = Target::start_with(&mut command);
        let found = applier::find_processes(&patch.targets());
        let [process] = &found[..] else { panic!("{command:?}: {found:?}") };
        assert_eq!(apply_patiently(process.pid, &patch, &Options::default()), Outcome::Done);
        assert_eq!(target.ask(), "11 22", "{command:?}");
        deactivate_patiently(process.pid, &patch);
        assert_eq!(target.ask(), "1 2", "{command:?}");
        // Killing `unshare` would not end what it started.
        Command::new("kill").args(["-KILL", &process.pid.to_string()]).status().unwrap();
    }
}

/// Checks all the time that nothing of its own has changed: red zone, vector and x87 registers, `errno`.
const CAREFUL: &str = r#"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static __attribute__((noipa)) unsigned long changed(unsigned long pattern) {
    unsigned long bad;
    unsigned short control;
    __asm__ volatile(
        ".set off, 8\n.rept 16\nmovq %[p], -off(%%rsp)\n.set off, off + 8\n.endr\n"
        "vmovq %[p], %%xmm0\nvpbroadcastq %%xmm0, %%ymm0\n"
        ".irp n,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nvmovdqa %%ymm0, %%ymm\\n\n.endr\n"
        "fldpi\nfldl2e\n"
        "mov $300000, %%ecx\n1: dec %%ecx\njnz 1b\n"
        "xor %[bad], %[bad]\n"
        ".set off, 8\n.rept 16\nmovq -off(%%rsp), %%rcx\nxor %[p], %%rcx\nor %%rcx, %[bad]\n.set off, off + 8\n.endr\n"
        ".irp n,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nvpxor %%ymm0, %%ymm\\n, %%ymm\\n\nvptest %%ymm\\n, %%ymm\\n\nsetnz %%cl\nmovzbl %%cl, %%ecx\nor %%rcx, %[bad]\n.endr\n"
        "vmovq %%xmm0, %%rcx\nxor %[p], %%rcx\nor %%rcx, %[bad]\n"
        "fldl2e\nfucomip %%st(1), %%st\nsetne %%cl\nmovzbl %%cl, %%ecx\nor %%rcx, %[bad]\nfstp %%st(0)\n"
        "fldpi\nfucomip %%st(1), %%st\nsetne %%cl\nmovzbl %%cl, %%ecx\nor %%rcx, %[bad]\nfstp %%st(0)\n"
        "vzeroupper\n"
        : [bad] "=&r"(bad)
        : [p] "r"(pattern)
        : "rcx", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
          "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)");
    __asm__ volatile("fnstcw %0" : "=m"(control));
    return bad | (control ^ 0x37f);
}
int main(void) {
    int failures = 0;
    setvbuf(stdout, 0, _IONBF, 0);
    if (!__builtin_cpu_supports("avx2")) return 77;
    for (unsigned long i = 1;; i++) {
        struct pollfd in = { 0, POLLIN, 0 };
        char c;
        errno = 77;
        if (changed(i * 0x9e3779b97f4a7c15ul)) failures |= 1;
        if (errno != 77) failures |= 2;
        if (poll(&in, 1, 0) == 1) {
            if (read(0, &c, 1) != 1) return 0;
            printf("%d %d %d\n", one(), two(), failures);
        }
    }
}
"#;

#[test]
fn registers_and_red_zone_are_as_before() {
    let dir = tempfile::tempdir().unwrap();
    // The compiler itself must not put anything below the stack pointer.
    let program = compile(dir.path(), "careful", CAREFUL, &["-mno-red-zone"]);
    let elf = Elf::read(&program);
    let mut target = Target::start(&program);
    for round in 0..40 {
        // Another patch each time, so that each round also borrows the thread to map an image.
        let patch = patch(&elf, &format!("round {round}"), vec![returns("one", 11), returns("two", 22)]);
        apply_patiently(target.pid(), &patch, &Options::default());
        assert_eq!(target.ask(), "11 22 0", "round {round}");
        deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), "1 2 0", "round {round}");
    }
}

/// A child queues numbered signals; the parent checks that each comes once and in order.
const COUNTED: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static volatile int received, wrong;
static void handler(int s, siginfo_t *info, void *context) {
    if (info->si_value.sival_int != received++) wrong = 1;
}
int main(void) {
    struct sigaction a = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
    int back[2];
    char c;
    setvbuf(stdout, 0, _IONBF, 0);
    sigaction(SIGRTMIN, &a, 0);
    if (pipe(back)) return 1;
    pid_t parent = getpid();
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 20000;) {
            union sigval v = { .sival_int = i };
            if (sigqueue(parent, SIGRTMIN, v) == 0) i++;
            usleep(20);
        }
        _exit(0);
    }
    while (read(0, &c, 1) == 1) {
        if (received < 20000) printf("%d %d %d on\n", one(), two(), wrong);
        else printf("%d %d %d all\n", one(), two(), wrong);
    }
}
"#;

#[test]
fn signals_come_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "counted", COUNTED, &[]);
    let elf = Elf::read(&program);
    let mut target = Target::start(&program);
    let mut rounds = 0;
    loop {
        let patch = patch(&elf, &format!("round {rounds}"), vec![returns("one", 11), returns("two", 22)]);
        apply_patiently(target.pid(), &patch, &Options::default());
        let answer = target.ask();
        assert!(answer.starts_with("11 22 0 "), "round {rounds}: {answer}");
        deactivate_patiently(target.pid(), &patch);
        rounds += 1;
        if answer.ends_with("all") {
            break;
        }
        assert!(rounds < 5000);
    }
    eprintln!("{rounds} rounds while 20,000 signals came");
    assert_eq!(target.ask(), "1 2 0 all");
    assert!(rounds > 5, "{rounds}");
}
