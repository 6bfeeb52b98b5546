//! Every system call that the applier makes goes wrong once, and the applier is killed before each: the
//! target is wholly old or wholly new, runs on, and the next attempt works and leaves nothing behind.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{LoadedPatch, Options, Outcome, ProcessError};
use common::{
    PAIR, Target, compile,
    image::{Elf, New, length_of, patch, returns},
    sys::inject::{Harm, Run, run},
};
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

const OLD: &str = "1 2";

/// A patch, and what the patched program answers.
struct Case {
    program: PathBuf,
    patch: LoadedPatch,
    /// Another version of it, for the operation that replaces the one by the other.
    next: LoadedPatch,
    new: &'static str,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// Tests of this file fork: one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn case(new: &'static str, functions: Vec<New>) -> Case {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let next = patch(&Elf::read(&program), "next", vec![returns("one", 31), returns("two", 32)]);
    let patch = patch(&Elf::read(&program), "calls", functions);
    Case { program, patch, next, new, _dir: dir, _turn: turn }
}

fn two_functions() -> Case {
    case("11 22", vec![returns("one", 11), returns("two", 22)])
}

/// One function, with a symbol whose address only a function of the target can tell.
fn one_function() -> Case {
    case("1 22", vec![length_of("two", "abcdefghijklmnopqrstuv")])
}

fn status_of(result: Result<Outcome, ProcessError>) -> i32 {
    match result {
        Ok(Outcome::Done) => 0,
        Ok(_) => 1,
        Err(_) => 2,
    }
}

/// What a process must have as before: descriptors, and the masks and pending signals of its only thread.
fn belongings(target: &Target) -> (usize, Vec<String>) {
    let pid = target.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    // `SigQ` counts those of the whole user.
    let of_signals = |l: &&str| (l.starts_with("Sig") || l.starts_with("Shd")) && !l.starts_with("SigQ");
    let signals = status.lines().filter(of_signals);
    (std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), signals.map(str::to_owned).collect())
}

fn check_after(case: &Case, mut target: Target, before: &(usize, Vec<String>), run: Run, what: &str) {
    assert_eq!(target.tracer(), "0", "{what}");
    let answer = target.ask();
    assert!(answer == OLD || answer == case.new, "{what}: half patched: {answer}");
    let shown = applier::inspect(target.pid()).unwrap().iter().any(|l| l.in_force);
    assert_eq!(shown, answer == case.new, "{what}: what is shown is not what is");
    if let Some(status @ (0 | 2)) = run.status {
        // A failure after the change was made does not unmake it, but what is called done is done.
        assert!(status == 2 || what.contains("apply") == shown, "{what}: {run:?}");
    }
    let options = Options::default();
    let pid = target.pid();
    // On a machine that is busy, as a command does.
    let outcome = common::apply_patiently(pid, &case.patch, &options);
    assert!(matches!(outcome, Outcome::Done | Outcome::Already), "{what}: {outcome:?}");
    assert_eq!(target.ask(), case.new, "{what}");
    common::deactivate_patiently(pid, &case.patch);
    assert_eq!(target.ask(), OLD, "{what}");
    assert_eq!(applier::inspect(pid).unwrap().len(), 1, "{what}: {}", target.maps());
    // Its four segments, and two pages of the applier.
    let pieces = target.maps().matches("upatch:").count();
    assert_eq!(pieces, 6, "{what}: {}", target.maps());
    assert_eq!(belongings(&target), *before, "{what}");
}

/// Tries calls `from`, `from + step`, … of an operation until there are no more; gives the number of points
/// tried.
fn every_call(case: &Case, verb: &str, harm: Harm, from: usize, step: usize) -> usize {
    let options = Options::default();
    let mut tried = 0;
    for number in (from..).step_by(step) {
        let target = Target::start(&case.program);
        let before = belongings(&target);
        let pid = target.pid();
        if verb != "apply" {
            assert_eq!(common::apply_patiently(pid, &case.patch, &options), Outcome::Done);
        }
        let run = run(number, harm, || {
            status_of(match verb {
                "apply" => applier::apply(pid, &case.patch, &options),
                _ => applier::deactivate(pid, case.patch.uuid, &options),
            })
        });
        let what =
            format!("{verb}, {harm:?} at system call {number} (number {:?}): {:?}", run.hit, run.status);
        if run.hit.is_none() {
            assert_eq!(run.status, Some(0), "{what}: goes wrong by itself");
        }
        check_after(case, target, &before, run, &what);
        if run.hit.is_none() {
            break;
        }
        tried += 1;
    }
    tried
}

/// The same for one version that takes the place of another: never is the process on code that neither has
/// changed.
fn every_call_of_replace(case: &Case, harm: Harm, from: usize, step: usize) -> usize {
    let options = Options::default();
    let next = "31 32";
    let mut tried = 0;
    for number in (from..).step_by(step) {
        let mut target = Target::start(&case.program);
        let before = belongings(&target);
        let pid = target.pid();
        assert_eq!(common::apply_patiently(pid, &case.patch, &options), Outcome::Done);
        let replace = || applier::replace(pid, &[case.patch.uuid], &case.next, &options);
        let run = run(number, harm, || status_of(replace()));
        let what =
            format!("replace, {harm:?} at system call {number} (number {:?}): {:?}", run.hit, run.status);
        assert_eq!(target.tracer(), "0", "{what}");
        let answer = target.ask();
        assert!(answer == case.new || answer == next, "{what}: {answer}");
        assert!(run.hit.is_some() || (run.status, answer.as_str()) == (Some(0), next), "{what}: {answer}");
        assert!(matches!(replace().unwrap(), Outcome::Done | Outcome::Already), "{what}");
        assert_eq!(target.ask(), next, "{what}");
        let in_force = |l: &applier::Located| l.in_force && l.control.uuid == case.next.uuid;
        let images = applier::inspect(pid).unwrap();
        assert_eq!(images.iter().filter(|l| l.in_force).count(), 1, "{what}");
        assert!(images.iter().any(in_force), "{what}");
        common::deactivate_patiently(pid, &case.next);
        assert_eq!(target.ask(), OLD, "{what}");
        assert_eq!(belongings(&target), before, "{what}");
        if run.hit.is_none() {
            break;
        }
        tried += 1;
    }
    tried
}

fn try_all(case: &Case, step: usize) {
    let mut points = 0;
    for verb in ["apply", "deactivate"] {
        for harm in [Harm::Kill, Harm::Fail(libc::EIO), Harm::Fail(libc::ENOMEM)] {
            // Different starts, so that a coarse run tries other calls for each kind.
            let tried = every_call(case, verb, harm, points % step, step);
            eprintln!("{verb}, {harm:?}: {tried} system calls tried");
            assert!(tried * step > 60, "{verb}: only {tried} system calls");
            points += tried;
        }
    }
    // One of a single function leaves the other as it was linked until the version of two comes.
    if case.patch.elfs[0].image.redirects.len() == 2 {
        for harm in [Harm::Kill, Harm::Fail(libc::EIO)] {
            let tried = every_call_of_replace(case, harm, points % step, step);
            eprintln!("replace, {harm:?}: {tried} system calls tried");
            assert!(tried * step > 60, "replace: only {tried} system calls");
            points += tried;
        }
    }
    eprintln!("{points} points in all");
}

#[test]
fn some_system_calls_two_functions() {
    try_all(&two_functions(), 13);
}

#[test]
fn some_system_calls_one_function() {
    try_all(&one_function(), 13);
}

/// All of them: `make faults`.
#[test]
#[ignore = "takes minutes"]
fn every_system_call() {
    for case in [two_functions as fn() -> Case, one_function] {
        try_all(&case(), 1);
    }
}
