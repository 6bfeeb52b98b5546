//! Several patches in one process, and one patch for several ELF files.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedElf, Options, Outcome, ProcessError};
use common::{
    PAIR, Target, compile,
    image::{Elf, PADDED, by_padding, image, pair_patch, patch, returns},
    pair_of_files,
};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::FileExt,
    process::Command,
};

#[test]
fn stacked_patches_come_out_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let elf = Elf::read(&program);
    let patches = [
        patch(&elf, "A", vec![returns("one", 11), returns("two", 12)]),
        patch(&elf, "B", vec![returns("one", 21)]),
        patch(&elf, "C", vec![returns("one", 31), returns("two", 32)]),
    ];
    let expect = |active: &[usize]| {
        let one = active.last().map_or(1, |p| 10 * (p + 1) + 1);
        let two = active.iter().rfind(|p| **p != 1).map_or(2, |p| 10 * (p + 1) + 2);
        format!("{one} {two}")
    };
    let options = Options::default();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for out in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut target = Target::start(&program);
            let mut active = Vec::new();
            for p in order {
                common::apply_patiently(target.pid(), &patches[p], &options);
                active.push(p);
                assert_eq!(target.ask(), expect(&active), "in: {active:?}");
            }
            for p in out {
                common::deactivate_patiently(target.pid(), &patches[p]);
                active.retain(|a| *a != p);
                assert_eq!(target.ask(), expect(&active), "in {order:?}, out {out:?}: {active:?}");
            }
            // One that was below comes back on top.
            common::apply_patiently(target.pid(), &patches[order[0]], &options);
            assert_eq!(target.ask(), expect(&[order[0]]));
        }
    }
}

/// Bytes of the process.
fn bytes(target: &Target, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let memory = std::fs::File::open(format!("/proc/{}/mem", target.pid())).unwrap();
    memory.read_exact_at(&mut bytes, address).unwrap();
    bytes
}

#[test]
fn patches_by_padding_come_out_in_any_order_and_leave_it_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, PADDED);
    let elf = Elf::read(&program);
    // The first two go by the same padding, the third by other.
    let patches = [
        by_padding(patch(&elf, "A", vec![returns("one", 11), returns("two", 12)]), &elf, 10),
        by_padding(patch(&elf, "B", vec![returns("one", 21)]), &elf, 10),
        by_padding(patch(&elf, "C", vec![returns("one", 31)]), &elf, 5),
    ];
    let options = Options::default();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        for out in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut target = Target::start(&program);
            let mut active: Vec<usize> = Vec::new();
            let expect = |active: &[usize]| {
                let one = active.last().map_or(1, |p| 10 * (p + 1) + 1);
                format!("{one} {}", if active.contains(&0) { 12 } else { 2 })
            };
            for p in order {
                common::apply_patiently(target.pid(), &patches[p], &options);
                active.push(p);
                assert_eq!(target.ask(), expect(&active), "in: {active:?}");
            }
            for p in out {
                common::deactivate_patiently(target.pid(), &patches[p]);
                active.retain(|a| *a != p);
                assert_eq!(target.ask(), expect(&active), "in {order:?}, out {out:?}: {active:?}");
            }
            for entry in applier::inspect(target.pid()).unwrap().iter().flat_map(|l| &l.control.entries) {
                let (hop, linked) = entry.hop.unwrap();
                assert_eq!(bytes(&target, hop, 8), linked);
                assert_eq!(bytes(&target, entry.site, 8), entry.original);
            }
        }
    }
}

#[test]
fn padding_that_another_patch_goes_by_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, PADDED);
    let elf = Elf::read(&program);
    let first = by_padding(patch(&elf, "A", vec![returns("one", 11)]), &elf, 9);
    let mut second = by_padding(patch(&elf, "B", vec![returns("two", 22)]), &elf, 9);
    second.elfs[0].image.redirects[0].hop = first.elfs[0].image.redirects[0].hop;
    second.elfs[0].image.validate().unwrap();
    let mut target = Target::start(&program);
    common::apply_patiently(target.pid(), &first, &Options::default());
    let refused = applier::apply(target.pid(), &second, &Options::default());
    assert!(matches!(refused, Err(ProcessError::Conflict { .. })), "{refused:?}");
    assert_eq!(target.ask(), "11 2");
    common::deactivate_patiently(target.pid(), &first);
    common::apply_patiently(target.pid(), &second, &Options::default());
    assert_eq!(target.ask(), "1 22");
    let refused = applier::apply(target.pid(), &first, &Options::default());
    assert!(matches!(refused, Err(ProcessError::Conflict { .. })), "{refused:?}");
}

/// A thread that calls all the time, and remembers what it has seen of the first function.
const HOT: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static volatile int seen[100];
static volatile long rounds;
static void *hot(void *arg) { for (;;) { seen[one()] = 1; rounds++; } return arg; }
int main(void) {
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    pthread_create(&t, 0, hot, 0);
    while (getchar() != EOF) {
        // What it was about to note is noted.
        for (long now = rounds; rounds < now + 2;) usleep(10);
        printf("%d %d %d\n", one(), two(), seen[1]);
        seen[1] = 0;
    }
}
"#;

#[test]
fn one_version_takes_the_place_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "hot", HOT, &["-pthread"]);
    let elf = Elf::read(&program);
    let versions = [
        patch(&elf, "v1", vec![returns("one", 11), returns("two", 12)]),
        patch(&elf, "v2", vec![returns("one", 21)]),
        patch(&elf, "v3", vec![returns("one", 31), returns("two", 32)]),
    ];
    let says = ["11 12 0", "21 2 0", "31 32 0"];
    let mut target = Target::start(&program);
    let options = Options::default();
    let patiently = |pid: i32, old: usize, new: usize| {
        let started = std::time::Instant::now();
        while let Outcome::Busy(busy) =
            applier::replace(pid, &[versions[old].uuid], &versions[new], &options).unwrap()
        {
            assert!(started.elapsed().as_secs() < 20, "{busy}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    common::apply_patiently(target.pid(), &versions[0], &options);
    target.ask();
    assert_eq!(target.ask(), says[0]);
    for (old, new) in [(0, 2), (2, 0), (0, 1), (1, 2), (2, 1), (1, 0)].repeat(5) {
        patiently(target.pid(), old, new);
        assert_eq!(target.ask(), says[new], "{old} to {new}");
        let in_force: Vec<_> = applier::inspect(target.pid()).unwrap();
        let in_force: Vec<_> = in_force.iter().filter(|l| l.in_force).map(|l| l.control.uuid).collect();
        assert_eq!(in_force, [versions[new].uuid], "{old} to {new}");
    }
    // Nothing to replace: it goes in all the same; again: nothing to do.
    common::deactivate_patiently(target.pid(), &versions[0]);
    patiently(target.pid(), 1, 2);
    let again = applier::replace(target.pid(), &[versions[1].uuid], &versions[2], &options).unwrap();
    assert_eq!(again, Outcome::Already);
    target.ask();
    assert_eq!(target.ask(), says[2]);
}

#[test]
fn program_and_library_together() {
    let dir = tempfile::tempdir().unwrap();
    let (library, program) = pair_of_files(dir.path());
    let mut both = patch(&Elf::read(&library), "both", vec![returns("one", 11)]);
    let for_program = image(&Elf::read(&program), vec![returns("two", 22)], false);
    both.elfs.push(LoadedElf { index: 1, image: for_program });

    let mut target = Target::start(&program);
    let mut other = Target::start(&program);
    // Replaced on disk, as an update would: the process keeps the file it has.
    std::fs::remove_file(&library).unwrap();
    std::fs::write(&library, "something else").unwrap();
    let found = applier::find_processes(&both.targets());
    for pid in [target.pid(), other.pid()] {
        assert_eq!(found.iter().filter(|c| c.pid == pid).count(), 2);
        common::apply_patiently(pid, &both, &Options::default());
    }
    assert_eq!((target.ask(), other.ask()), ("11 22".into(), "11 22".into()));
    assert_eq!(applier::inspect(target.pid()).unwrap().len(), 2);
    common::deactivate_patiently(target.pid(), &both);
    assert_eq!((target.ask(), other.ask()), ("1 2".into(), "11 22".into()));
}

#[test]
fn another_mount_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &["-static"]);
    let patch = pair_patch(&program, "ns");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /mnt && cp \"$0\" /mnt/inner && exec /mnt/inner",
    ]);
    command.arg(&program);
    let mut target = Target::start_with(&mut command);
    assert!(!std::path::Path::new("/mnt/inner").exists());
    assert!(applier::find_processes(&patch.targets()).iter().any(|c| c.pid == target.pid()));
    common::apply_patiently(target.pid(), &patch, &Options::default());
    assert_eq!(target.ask(), "11 22");
}

#[test]
fn many_cycles_take_no_more_memory() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "cycles");
    let mut target = Target::start(&program);
    let pid = target.pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let (mut lines, before) = (0, descriptors());
    for cycle in 0..300 {
        common::apply_patiently(target.pid(), &patch, &Options::default());
        common::deactivate_patiently(target.pid(), &patch);
        let now = target.maps().lines().count();
        assert!(cycle == 0 || now == lines, "cycle {cycle}: {}", target.maps());
        lines = now;
    }
    assert_eq!(target.ask(), "1 2");
    assert_eq!(descriptors(), before);
}

/// A measurement, not a test: `cargo test --release -- --ignored --nocapture two_hundred`.
#[test]
#[ignore = "measures"]
fn two_hundred_processes() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "many");
    let mut targets: Vec<_> = (0..200).map(|_| Target::start(&program)).collect();
    for _ in 0..3 {
        let started = std::time::Instant::now();
        let found = applier::find_processes(&patch.targets());
        let searched = started.elapsed();
        assert_eq!(found.len(), 200);
        for candidate in &found {
            common::apply_patiently(candidate.pid, &patch, &Options::default());
        }
        let applied = started.elapsed();
        for candidate in &found {
            common::deactivate_patiently(candidate.pid, &patch);
        }
        eprintln!(
            "200 processes: found in {searched:?}, patched in {applied:?}, back in {:?}",
            started.elapsed()
        );
    }
    assert!(targets.iter_mut().all(|t| t.ask() == "1 2"));
}

/// A measurement, not a test.
#[test]
#[ignore = "measures"]
fn ten_thousand_cycles() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "cycles");
    let mut target = Target::start(&program);
    let memory = |target: &Target| std::fs::read_to_string(format!("/proc/{}/statm", target.pid())).unwrap();
    let mut before = String::new();
    let started = std::time::Instant::now();
    for cycle in 0..10_000 {
        common::apply_patiently(target.pid(), &patch, &Options::default());
        common::deactivate_patiently(target.pid(), &patch);
        if cycle == 0 {
            before = memory(&target);
        }
    }
    eprintln!("10,000 cycles in {:?}: {} then {}", started.elapsed(), before.trim(), memory(&target).trim());
    assert_eq!(memory(&target), before);
    assert_eq!(target.ask(), "1 2");
}

/// What one has seen of a process must not be acted upon when another has changed it meanwhile.
#[test]
fn two_at_the_same_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "contended", PAIR, &[]);
    let patch = pair_patch(&program, "contended");
    for _ in 0..60 {
        let mut target = Target::start(&program);
        let pid = target.pid();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        match applier::apply(pid, &patch, &Options::default()) {
                            Ok(Outcome::Busy(_)) | Err(ProcessError::Traced { .. }) => {}
                            Ok(_) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
        });
        assert_eq!(target.ask(), "11 22");
        assert_eq!(applier::inspect(pid).unwrap().len(), 1);
    }
}

/// The child of `vfork` has its parent's memory until it executes another program.
const IN_VFORK: &str = r#"
#include <stdio.h>
#include <unistd.h>
#include <sys/wait.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) {
        pid_t child = vfork();
        if (child == 0) { printf("%d\n", getpid()); char c; if (read(0, &c, 1)) {} _exit(0); }
        waitpid(child, 0, 0);
        printf("%d %d\n", one(), two());
    }
}
"#;

#[test]
fn a_child_that_shares_its_parents_memory_waits() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "vforked", IN_VFORK, &[]);
    let patch = pair_patch(&program, "vforked");
    let mut child = std::process::Command::new(&program)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    input.write_all(b"x").unwrap();
    let forked: i32 = lines.next().unwrap().parse().unwrap();
    let outcome = applier::apply(forked, &patch, &Options::default()).unwrap();
    assert!(matches!(&outcome, Outcome::Busy(busy) if busy.why.contains("vfork")), "{outcome:?}");
    input.write_all(b"x").unwrap();
    assert_eq!(lines.next().unwrap(), "1 2");
    drop(input);
    child.wait().unwrap();
}
