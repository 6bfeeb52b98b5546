//! Uprobes and breakpoints of others in pages with functions that are patched: set and taken away at any
//! time, before and after.
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
    image::{Elf, PADDED, by_padding, pair_patch, patch, returns},
    pair_of_files,
    stage::{is_root, stage_with},
};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

const OLD: &str = "1 2";
const NEW: &str = "11 22";
const TRACING: &str = "/sys/kernel/tracing";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A uprobe as tracers set it.
struct Probe {
    name: String,
}

impl Probe {
    /// At the first instruction of `function`.
    fn set(file: &Path, function: &str) -> Self {
        let name = format!("upatch_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let probe = Self { name };
        let offset = offset_of(file, Elf::read(file).symbol(function).0);
        probe.tell("uprobe_events", &format!("p:{} {}:{offset:#x}", probe.name, file.display()));
        probe.tell(&format!("events/uprobes/{}/enable", probe.name), "1");
        probe
    }

    fn tell(&self, file: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).open(format!("{TRACING}/{file}")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// How often it was hit.
    fn hits(&self) -> u64 {
        let text = fs::read_to_string(format!("{TRACING}/uprobe_profile")).unwrap();
        let line = text.lines().find(|l| l.split_whitespace().any(|w| w == self.name)).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.tell(&format!("events/uprobes/{}/enable", self.name), "0");
        self.tell("uprobe_events", &format!("-:{}", self.name));
    }
}

fn offset_of(path: &Path, address: u64) -> u64 {
    let bytes = fs::read(path).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let table = usize::try_from(word(32)).unwrap();
    let mut headers = (0..usize::from(bytes[56])).map(|i| table + 56 * i);
    let holds = |p: &usize| bytes[*p] == 1 && (word(p + 16)..word(p + 16) + word(p + 40)).contains(&address);
    let p = headers.find(holds).unwrap();
    address - word(p + 16) + word(p + 8)
}

/// Can uprobes be set here?
fn available() -> bool {
    let can = is_root() && Path::new(TRACING).join("uprobe_events").exists();
    if !can {
        common::skipped("uprobes can be set by root, with tracefs mounted");
    }
    can
}

fn mappings(target: &Target) -> usize {
    target.maps().lines().count()
}

/// Sets one at `one` of `file` at each point of a patch's life, and takes it away at each.
fn lives_with(target: &mut Target, file: &Path, patch: &LoadedPatch) {
    let pid = target.pid();
    assert_eq!(apply_patiently(pid, patch, &Options::default()), Outcome::Done);
    let count = mappings(target);
    for _ in 0..2 {
        let probe = Probe::set(file, "one");
        assert_eq!(target.ask(), NEW);
        deactivate_patiently(pid, patch);
        assert_eq!(target.ask(), OLD);
        assert_eq!(apply_patiently(pid, patch, &Options::default()), Outcome::Done);
        assert_eq!(target.ask(), NEW);
        assert_eq!(probe.hits(), 0);
        drop(probe);
        assert_eq!(target.ask(), NEW);
        deactivate_patiently(pid, patch);
        let probe = Probe::set(file, "one");
        assert_eq!(target.ask(), OLD);
        drop(probe);
        assert_eq!(target.ask(), OLD);
        assert_eq!(apply_patiently(pid, patch, &Options::default()), Outcome::Done);
        assert!(applier::inspect(pid).unwrap().iter().all(|l| l.disturbed.is_empty()));
        assert_eq!(mappings(target), count, "{}", target.maps());
    }
    deactivate_patiently(pid, patch);
    assert_eq!(target.ask(), OLD);
}

#[test]
fn set_and_taken_away_at_any_time_in_programs() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Without code in pages of its own the first page of the code is that of the file's headers too.
    let kinds: [&[&str]; 4] =
        [&["-fPIE", "-pie"], &["-fno-pie", "-no-pie"], &["-Wl,-z,noseparate-code"], &["-static"]];
    for flags in kinds {
        let program = compile(dir.path(), "pair", PAIR, flags);
        lives_with(&mut Target::start(&program), &program, &pair_patch(&program, "p"));
    }
}

#[test]
fn set_and_taken_away_at_any_time_where_padding_is_used() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "padded", PAIR, PADDED);
    let patch = by_padding(pair_patch(&program, "padded"), &Elf::read(&program), 8);
    lives_with(&mut Target::start(&program), &program, &patch);
}

#[test]
fn set_and_taken_away_at_any_time_in_a_library() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (library, user) = pair_of_files(dir.path());
    let patch = patch(&Elf::read(&library), "library", vec![returns("one", 11)]);
    let mut target = Target::start(&user);
    apply_patiently(target.pid(), &patch, &Options::default());
    let probe = Probe::set(&library, "one");
    assert_eq!(target.ask(), "11 2");
    // Another process has it.
    let mut other = Target::start(&user);
    let refused = applier::apply(other.pid(), &patch, &Options::default());
    assert!(matches!(refused, Err(ProcessError::EntryChanged { .. })), "{refused:?}");
    assert_eq!(other.ask(), OLD);
    assert!(probe.hits() >= 1);
    drop(probe);
    assert_eq!(apply_patiently(other.pid(), &patch, &Options::default()), Outcome::Done);
    assert_eq!((target.ask(), other.ask()), ("11 2".into(), "11 2".into()));
    deactivate_patiently(target.pid(), &patch);
    assert_eq!(target.ask(), OLD);
}

#[test]
fn one_that_was_there_before_keeps_the_patch_out() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    // The kernel maps a page for the instructions of probes.
    let maps = |target: &Target| {
        let maps = target.maps();
        maps.lines().filter(|l| !l.ends_with("[uprobes]")).map(String::from).collect::<Vec<_>>()
    };
    let before = maps(&target);
    let probe = Probe::set(&program, "one");
    for _ in 0..2 {
        let refused = applier::apply(target.pid(), &patch, &Options::default());
        assert!(matches!(refused, Err(ProcessError::EntryChanged { .. })), "{refused:?}");
        assert_eq!(target.ask(), OLD);
    }
    assert_eq!((probe.hits(), maps(&target)), (2, before));
    drop(probe);
    lives_with(&mut target, &program, &patch);
}

#[test]
fn one_at_a_neighbour_is_no_longer_hit_which_is_said() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = patch(&Elf::read(&program), "p", vec![returns("one", 11)]);
    let mut target = Target::start(&program);
    let probe = Probe::set(&program, "two");
    assert_eq!(target.ask(), OLD);
    assert!(!applier::check(target.pid(), &patch, &Options::default()).unwrap().already);
    assert_eq!(target.ask(), OLD);
    let outcome = apply_patiently(target.pid(), &patch, &Options::default());
    assert!(matches!(&outcome, Outcome::DoneBut(what) if what.contains("uprobes")), "{outcome:?}");
    assert_eq!(target.ask(), "11 2");
    assert_eq!(probe.hits(), 2);
    drop(probe);
    assert_eq!(target.ask(), "11 2");
    let other = patch_of_two(&program);
    assert_eq!(apply_patiently(target.pid(), &other, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), NEW);
}

fn patch_of_two(program: &Path) -> LoadedPatch {
    patch(&Elf::read(program), "second", vec![returns("two", 22)])
}

#[test]
fn two_patches_on_one_page_exchange_it_once() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &["-Wl,-z,noseparate-code"]);
    let first = patch(&Elf::read(&program), "first", vec![returns("one", 11)]);
    let second = patch_of_two(&program);
    let mut target = Target::start(&program);
    let without_file = |target: &Target| target.maps().lines().filter(|l| l.contains(" 00:00 0")).count();
    let before = without_file(&target);
    apply_patiently(target.pid(), &first, &Options::default());
    assert_eq!(without_file(&target), before + 1, "{}", target.maps());
    apply_patiently(target.pid(), &second, &Options::default());
    assert_eq!(without_file(&target), before + 1, "{}", target.maps());
    let _probes = [Probe::set(&program, "one"), Probe::set(&program, "two"), Probe::set(&program, "main")];
    assert_eq!(target.ask(), NEW);
    deactivate_patiently(target.pid(), &first);
    assert_eq!(target.ask(), "1 22");
    deactivate_patiently(target.pid(), &second);
    assert_eq!(target.ask(), OLD);
}

/// Each answer is that of a child.
const FORKS: &str = r#"
#include <stdio.h>
#include <unistd.h>
#include <sys/wait.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    while (getchar() != EOF) {
        if (fork() == 0) { printf("%d %d\n", one(), two()); _exit(0); }
        wait(0);
    }
}
"#;

#[test]
fn children_have_what_their_parents_have() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "forks", FORKS, &[]);
    lives_with(&mut Target::start(&program), &program, &pair_patch(&program, "p"));
}

/// A patch of a version that left pages what they were: a uprobe has gone over its jump. The page is
/// exchanged when that is put right.
#[test]
fn a_page_that_was_left_to_its_file_is_exchanged_when_it_is_put_right() {
    if !available() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    apply_patiently(target.pid(), &patch, &Options::default());
    let site = applier::inspect(target.pid()).unwrap()[0].control.entries[0].site;
    let memory = File::options().write(true).open(format!("/proc/{}/mem", target.pid())).unwrap();
    memory.write_all_at(&[0xcc], site).unwrap();
    let outcome = apply_patiently(target.pid(), &patch, &Options::default());
    assert!(matches!(outcome, Outcome::DoneBut(_)), "{outcome:?}");
    assert_eq!(target.ask(), NEW);
}

/// Threads that are in the page all the time, and in what is patched now and then.
const SPINS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static volatile long turns;
static void *spin(void *arg) { for (;;) { turns++; if (turns % 4096 == 0) one(); } return arg; }
int main(void) {
    pthread_t t;
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 4; i++) pthread_create(&t, 0, spin, 0);
    while (getchar() != EOF) printf("%d %d\n", one(), two());
}
"#;

#[test]
fn a_page_that_threads_run_in_is_exchanged_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "spins", SPINS, &["-pthread"]);
    let patch = pair_patch(&program, "p");
    for _ in 0..20 {
        let mut target = Target::start(&program);
        apply_patiently(target.pid(), &patch, &Options::default());
        assert_eq!(target.ask(), NEW);
        deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), OLD);
    }
}

/// As many mappings as the kernel allows.
const MAPPINGS: &str = r#"
#include <stdio.h>
#include <sys/mman.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    char *room = mmap(0, 1l << 32, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *at = room;
    if (getchar() != EOF) printf("%d %d\n", one(), two());
    while (at < room + (1l << 32) && mprotect(at, 4096, PROT_READ) == 0) at += 8192;
    for (int turn = 0; getchar() != EOF; turn++) {
        if (turn == 1) munmap(room, 1l << 32);
        printf("%d %d\n", one(), two());
    }
}
"#;

#[test]
fn too_many_mappings_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "mappings", MAPPINGS, &[]);
    let patch = pair_patch(&program, "p");
    let mut target = Target::start(&program);
    assert_eq!(target.ask(), OLD);
    let result = applier::apply(target.pid(), &patch, &Options::default());
    assert!(matches!(&result, Err(e) if e.to_string().contains("vm.max_map_count")), "{result:?}");
    assert_eq!(target.ask(), OLD);
    assert_eq!(apply_patiently(target.pid(), &patch, &Options::default()), Outcome::Done);
    assert_eq!(target.ask(), NEW);
}

#[test]
fn set_after_a_program_was_patched_as_it_started() {
    if !available() {
        return;
    }
    let stage = stage_with("uprobes", PAIR, &[]);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let _daemon = stage.serve();
    let probe = Probe::set(&stage.program, "main");
    let mut target = Target::start(&stage.program);
    assert_eq!(target.ask(), NEW);
    drop(probe);
    let entries = [Probe::set(&stage.program, "one"), Probe::set(&stage.program, "two")];
    assert_eq!(target.ask(), NEW);
    // One that starts now has them.
    let mut late = Target::start(&stage.program);
    assert_eq!(late.ask(), OLD);
    drop(entries);
    assert_eq!((target.ask(), late.ask().is_empty()), (NEW.into(), false));
    stage.run("deactive HP1").exits(0);
    assert_eq!((target.ask(), late.ask()), (OLD.into(), OLD.into()));
}

/// What a debugger that was killed leaves behind.
#[test]
fn breakpoints_left_in_the_page_are_taken_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = patch(&Elf::read(&program), "p", vec![returns("one", 11)]);
    let mut target = Target::start(&program);
    let two = {
        let bias = u64::from_str_radix(target.maps().split('-').next().unwrap(), 16).unwrap();
        bias + Elf::read(&program).symbol("two").0
    };
    let memory = File::options().write(true).open(format!("/proc/{}/mem", target.pid())).unwrap();
    memory.write_all_at(&[0xcc], two).unwrap();
    let outcome = apply_patiently(target.pid(), &patch, &Options::default());
    assert!(matches!(&outcome, Outcome::DoneBut(what) if what.contains(&format!("{two:#x}"))), "{outcome:?}");
    assert_eq!(target.ask(), "11 2");
}

/// Tools that take the memory map for a list of modules find the way through the page.
#[test]
fn stacks_are_shown_as_before() {
    let dir = tempfile::tempdir().unwrap();
    if Command::new("eu-stack").arg("--version").output().is_err() {
        return common::skipped("there is no eu-stack");
    }
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "p");
    let target = Target::start(&program);
    apply_patiently(target.pid(), &patch, &Options::default());
    target.rest();
    let pid = target.pid().to_string();
    let shown = Command::new("eu-stack").args(["-p", &pid]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("main") && shown.contains("_start"), "{shown}");
}
