//! Whatever step goes wrong while a patch goes into a program that starts, and also when the applier is
//! killed there: the program is wholly old or wholly new, runs on, and the next attempt works.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{
    Fault, FaultKind, LoadedPatch, Options, Outcome, ProcessError,
    start::{self, StartObserver},
};
use common::{
    PAIR, Target, child_of_this, compile,
    image::{Elf, length_of, pair_patch, patch},
    was_killed,
};
use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const OLD: &str = "1 2";
const NEW: &str = "11 22";

struct Patient;

impl StartObserver for Patient {
    fn time_left(&self, _tid: i32) -> bool {
        true
    }

    fn attached(&self) {}

    fn letting_go(&self) {}
}

/// Lets process `pid` execute its program, and patches it on the way.
fn follow(pid: i32, patch: &LoadedPatch, fault: Option<Fault>) -> Result<Outcome, ProcessError> {
    // To the pipe that it reads from.
    let allow = || fs::write(format!("/proc/{pid}/fd/0"), "\n").is_ok();
    let held = start::executed(pid, allow, &Patient).unwrap();
    assert_eq!(held.mapped(&patch.targets()).unwrap(), [0]);
    held.apply(patch, &[], &Options { fault, ..Options::default() })
}

/// Not a test of its own: runs in a process that is killed on the way.
#[test]
#[ignore = "runs as a child of another test"]
fn killed_follower() {
    let Ok(order) = std::env::var("UPATCH_TEST_KILL_START") else { return };
    let words: Vec<_> = order.split_whitespace().collect();
    let [pid, step, program] = words[..] else { panic!("{order}") };
    let fault = Some(Fault { step: step.parse().unwrap(), kind: FaultKind::Kill });
    let outcome = follow(pid.parse().unwrap(), &pair_patch(Path::new(program), "pair"), fault);
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

fn follower(target: &Target, step: usize, program: &Path) -> Command {
    let order = format!("{} {step} {}", target.pid(), program.display());
    child_of_this("killed_follower", "UPATCH_TEST_KILL_START", &order)
}

/// `true` if it was killed.
fn run_killed(target: &Target, step: usize, program: &Path) -> bool {
    was_killed(&mut follower(target, step, program), &format!("step {step}"))
}

/// The program answers, has no file of ours open, and takes the patch.
fn sound(target: &mut Target, patch: &LoadedPatch, what: &str) {
    let answer = target.ask();
    assert!(answer == OLD || answer == NEW, "{what}: half patched: {answer}");
    assert_eq!(target.tracer(), "0");
    let shown = applier::inspect(target.pid()).unwrap().iter().any(|l| l.in_force);
    assert_eq!(shown, answer == NEW, "{what}: what is shown is not what is");
    assert!(!start::mend(target.pid()).unwrap(), "{what}: the loader is not as it was");
    target.rest();
    let outcome = common::apply_patiently(target.pid(), patch, &Options::default());
    assert!(matches!(outcome, Outcome::Done | Outcome::Already), "{what}: {outcome:?}");
    assert_eq!(target.ask(), NEW, "{what}");
    assert_eq!(applier::inspect(target.pid()).unwrap().len(), 1, "{what}: {}", target.maps());
    let files = fs::read_dir(format!("/proc/{}/fd", target.pid())).unwrap();
    let files: Vec<_> = files.filter_map(|f| fs::read_link(f.unwrap().path()).ok()).collect();
    assert!(!files.iter().any(|f| f.to_string_lossy().contains("upatch")), "{what}: {files:?}");
}

#[test]
fn killed_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "pair");
    let mut steps = 0;
    loop {
        let mut target = Target::about_to_execute(&program);
        if !run_killed(&target, steps, &program) {
            assert_eq!(target.ask(), NEW);
            break;
        }
        sound(&mut target, &patch, &format!("killed before step {steps}"));
        steps += 1;
    }
    assert!(steps > 10, "only {steps} steps");
}

/// Also while the loader is at work, which no step is counted for.
#[test]
fn killed_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "pair");
    let mut mended = 0;
    for round in 0..40 {
        let mut target = Target::about_to_execute(&program);
        let mut follower = follower(&target, usize::MAX, &program).spawn().unwrap();
        let executable = format!("/proc/{}/exe", target.pid());
        while fs::read_link(&executable).unwrap() != program {
            assert!(follower.try_wait().unwrap().is_none_or(|s| s.success()));
        }
        std::thread::sleep(Duration::from_micros(30 * round));
        follower.kill().unwrap();
        follower.wait().unwrap();
        let what = format!("round {round}");
        let answer = target.ask();
        assert!(answer == OLD || answer == NEW, "{what}: half patched: {answer}");
        // What a service does that starts.
        mended += usize::from(start::mend(target.pid()).unwrap());
        sound(&mut target, &patch, &what);
    }
    eprintln!("{mended} of 40 had something to mend");
}

#[test]
fn failure_of_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "pair");
    for step in 0.. {
        let mut target = Target::about_to_execute(&program);
        let fault = Some(Fault { step, kind: FaultKind::Fail });
        let (pid, ours) = (target.pid(), &patch);
        let result =
            std::thread::scope(|scope| scope.spawn(move || follow(pid, ours, fault)).join().unwrap());
        let what = format!("step {step} failed: {result:?}");
        let answer = target.ask();
        assert_eq!(answer, if result.is_ok() { NEW } else { OLD }, "{what}");
        sound(&mut target, &patch, &what);
        if result.is_ok() && step > 25 {
            break;
        }
        assert!(step < 100);
    }
}

/// Where the value of a symbol is known to a function of the program only (IFUNC), that is called before the
/// program begins.
#[test]
fn a_function_is_called_before_the_program_begins() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = patch(&Elf::read(&program), "single", vec![length_of("two", "abcdefghijklmnopqrstuv")]);
    let mut target = Target::about_to_execute(&program);
    let (pid, ours) = (target.pid(), &patch);
    let result = std::thread::scope(|scope| scope.spawn(move || follow(pid, ours, None)).join().unwrap());
    assert_eq!(result.unwrap(), Outcome::Done);
    assert_eq!(target.ask(), "1 22");
    assert_eq!(target.tracer(), "0");
}

/// Counts the stops in which a thread makes system calls for us.
#[derive(Clone, Default)]
struct Stops(Arc<AtomicUsize>);

impl Visit for Stops {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let is_one = field.name() == "what" && format!("{value:?}").contains("make system calls");
        self.0.fetch_add(usize::from(is_one), Ordering::Relaxed);
    }
}

impl Subscriber for Stops {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// A program that starts maps the image and exchanges its pages of code in one stop. Where it has no `/proc`,
/// by which it writes to its own memory, that takes another one.
#[test]
fn one_stop_for_the_image_and_for_pages_of_code() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "pair");
    for (before, stops) in [("", 1), ("umount -l /proc; ", 2)] {
        let mut gate = Command::new("unshare");
        gate.args(["-m", "sh", "-c", &format!("{before}read line; exec \"$0\"")]).arg(&program);
        let mut target = Target::about_to_execute_by(gate);
        let (pid, ours) = (target.pid(), &patch);
        let counted = Stops::default();
        let counter = counted.clone();
        let work = move || tracing::subscriber::with_default(counter, || follow(pid, ours, None));
        let result = std::thread::scope(|scope| scope.spawn(work).join().unwrap());
        assert_eq!(result.unwrap(), Outcome::Done);
        assert_eq!(target.ask(), NEW);
        assert_eq!(counted.0.load(Ordering::Relaxed), stops, "{before}");
        sound(&mut target, &patch, before);
    }
}
