//! Several patches in one process, and one patch for several ELF files.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedElf, Options, Outcome};
use common::{
    PAIR, Target, compile,
    image::{Elf, image, patch, returns},
};
use std::process::Command;

fn done(outcome: Result<Outcome, applier::ProcessError>) {
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

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
                done(applier::apply(target.pid(), &patches[p], &options));
                active.push(p);
                assert_eq!(target.ask(), expect(&active), "in: {active:?}");
            }
            for p in out {
                done(applier::deactivate(target.pid(), patches[p].uuid, &options));
                active.retain(|a| *a != p);
                assert_eq!(target.ask(), expect(&active), "in {order:?}, out {out:?}: {active:?}");
            }
            // One that was below comes back on top.
            done(applier::apply(target.pid(), &patches[order[0]], &options));
            assert_eq!(target.ask(), expect(&[order[0]]));
        }
    }
}

const LIBRARY: &str = "__attribute__((noipa)) int one(void) { return 1; }";
const USER: &str = r#"
#include <stdio.h>
int one(void);
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) printf("%d %d\n", one(), two());
}
"#;

#[test]
fn program_and_library_together() {
    let dir = tempfile::tempdir().unwrap();
    let library = compile(dir.path(), "libone.so", LIBRARY, &["-shared", "-fPIC", "-Wl,-soname,libone.so"]);
    let program = compile(dir.path(), "user", USER, &["-L.", "-l:libone.so", "-Wl,-rpath,$ORIGIN"]);
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
        done(applier::apply(pid, &both, &Options::default()));
    }
    assert_eq!((target.ask(), other.ask()), ("11 22".into(), "11 22".into()));
    assert_eq!(applier::inspect(target.pid()).unwrap().len(), 2);
    done(applier::deactivate(target.pid(), both.uuid, &Options::default()));
    assert_eq!((target.ask(), other.ask()), ("1 2".into(), "11 22".into()));
}

#[test]
fn another_mount_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &["-static"]);
    let patch = patch(&Elf::read(&program), "ns", vec![returns("one", 11), returns("two", 22)]);
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
    done(applier::apply(target.pid(), &patch, &Options::default()));
    assert_eq!(target.ask(), "11 22");
}

#[test]
fn many_cycles_take_no_more_memory() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = patch(&Elf::read(&program), "cycles", vec![returns("one", 11), returns("two", 22)]);
    let mut target = Target::start(&program);
    let pid = target.pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let (mut lines, before) = (0, descriptors());
    for cycle in 0..300 {
        done(applier::apply(target.pid(), &patch, &Options::default()));
        done(applier::deactivate(target.pid(), patch.uuid, &Options::default()));
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
    let patch = patch(&Elf::read(&program), "many", vec![returns("one", 11), returns("two", 22)]);
    let mut targets: Vec<_> = (0..200).map(|_| Target::start(&program)).collect();
    for _ in 0..3 {
        let started = std::time::Instant::now();
        let found = applier::find_processes(&patch.targets());
        let searched = started.elapsed();
        assert_eq!(found.len(), 200);
        for candidate in &found {
            done(applier::apply(candidate.pid, &patch, &Options::default()));
        }
        let applied = started.elapsed();
        for candidate in &found {
            done(applier::deactivate(candidate.pid, patch.uuid, &Options::default()));
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
    let patch = patch(&Elf::read(&program), "cycles", vec![returns("one", 11), returns("two", 22)]);
    let mut target = Target::start(&program);
    let memory = |target: &Target| std::fs::read_to_string(format!("/proc/{}/statm", target.pid())).unwrap();
    let mut before = String::new();
    let started = std::time::Instant::now();
    for cycle in 0..10_000 {
        done(applier::apply(target.pid(), &patch, &Options::default()));
        done(applier::deactivate(target.pid(), patch.uuid, &Options::default()));
        if cycle == 0 {
            before = memory(&target);
        }
    }
    eprintln!("10,000 cycles in {:?}: {} then {}", started.elapsed(), before.trim(), memory(&target).trim());
    assert_eq!(memory(&target), before);
    assert_eq!(target.ask(), "1 2");
}
