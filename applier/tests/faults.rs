//! Whatever step goes wrong, and also when the applier is killed there: the target is wholly old or wholly
//! new, runs on, and the next attempt works.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::{Fault, FaultKind, LoadedPatch, Options, Outcome};
use common::{
    PAIR, Target, child_of_this, compile,
    image::{Elf, PADDED, by_padding, length_of, pair_patch, patch},
    was_killed,
};
use std::path::Path;

const OLD: &str = "1 2";
const NEW: &str = "11 22";

/// One function, with a symbol whose address only a function of the target can tell.
fn one_function(program: &Path) -> LoadedPatch {
    patch(&Elf::read(program), "single", vec![length_of("two", "abcdefghijklmnopqrstuv")])
}

fn patch_called(name: &str, program: &Path) -> LoadedPatch {
    match name {
        "pair" => pair_patch(program, "pair"),
        "brings" => {
            let mut patch = pair_patch(program, "brings");
            patch.elfs[0].image.companions = vec!["libm.so.6".into()];
            patch
        }
        "padded" => by_padding(pair_patch(program, "padded"), &Elf::read(program), 8),
        _ => one_function(program),
    }
}

/// Not a test of its own: runs in a process that is killed on the way.
#[test]
#[ignore = "runs as a child of another test"]
fn killed_applier() {
    let Ok(order) = std::env::var("UPATCH_TEST_KILL") else { return };
    let words: Vec<_> = order.split_whitespace().collect();
    let [verb, name, pid, step, program] = words[..] else { panic!("{order}") };
    let fault = Some(Fault { step: step.parse().unwrap(), kind: FaultKind::Kill });
    let options = Options { fault, ..Options::default() };
    let patch = patch_called(name, Path::new(program));
    let outcome = match verb {
        "apply" => applier::apply(pid.parse().unwrap(), &patch, &options),
        _ => applier::deactivate(pid.parse().unwrap(), patch.uuid, &options),
    };
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

/// `true` if it was killed.
fn run_killed(verb: &str, name: &str, target: &Target, step: usize, program: &Path) -> bool {
    let order = format!("{verb} {name} {} {step} {}", target.pid(), program.display());
    was_killed(
        &mut child_of_this("killed_applier", "UPATCH_TEST_KILL", &order),
        &format!("{verb} step {step}"),
    )
}

fn sound(target: &mut Target, old: &str, new: &str, what: &str) -> bool {
    assert_eq!(target.tracer(), "0");
    let answer = target.ask();
    assert!(answer == old || answer == new, "{what}: half patched: {answer}");
    answer == new
}

fn every_kill(name: &str, new: &str) {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, if name == "padded" { PADDED } else { &[] });
    let patch = patch_called(name, &program);
    let options = Options::default();
    let mut steps = 0;
    loop {
        let mut target = Target::start(&program);
        if !run_killed("apply", name, &target, steps, &program) {
            break;
        }
        let what = format!("{name}: apply killed before step {steps}");
        let is_new = sound(&mut target, OLD, new, &what);
        let shown = applier::inspect(target.pid()).unwrap().iter().any(|l| l.in_force);
        assert_eq!(shown, is_new, "{what}: what is shown is not what is");
        let outcome =
            applier::apply(target.pid(), &patch, &options).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(matches!(outcome, Outcome::Done | Outcome::Already), "{what}: {outcome:?}");
        assert_eq!(target.ask(), new, "{what}");
        common::deactivate_patiently(target.pid(), &patch);
        assert_eq!(target.ask(), OLD, "{what}");
        // What was left unfinished is gone; the process has the image once.
        assert_eq!(applier::inspect(target.pid()).unwrap().len(), 1, "{what}: {}", target.maps());
        steps += 1;
    }
    eprintln!("{name}: {steps} steps");
    assert!(steps > 20, "only {steps} steps");
    for step in 0.. {
        let mut target = Target::start(&program);
        applier::apply(target.pid(), &patch, &options).unwrap();
        if !run_killed("deactivate", name, &target, step, &program) {
            break;
        }
        let what = format!("{name}: deactivate killed before step {step}");
        let is_new = sound(&mut target, OLD, new, &what);
        let shown = applier::inspect(target.pid()).unwrap().iter().any(|l| l.in_force);
        assert_eq!(shown, is_new, "{what}: what is shown is not what is");
        applier::deactivate(target.pid(), patch.uuid, &options).unwrap();
        assert_eq!(target.ask(), OLD, "{what}");
        applier::apply(target.pid(), &patch, &options).unwrap();
        assert_eq!(target.ask(), new, "{what}");
    }
}

#[test]
fn killed_at_every_step_two_functions() {
    every_kill("pair", NEW);
}

#[test]
fn killed_at_every_step_two_functions_by_padding() {
    every_kill("padded", NEW);
}

#[test]
fn killed_at_every_step_with_a_library_to_load() {
    every_kill("brings", NEW);
}

#[test]
fn killed_at_every_step_one_function() {
    every_kill("single", "1 22");
}

#[test]
fn failure_of_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "pair", PAIR, &[]);
    let patch = pair_patch(&program, "pair");
    for step in 0.. {
        let mut target = Target::start(&program);
        let fault = Some(Fault { step, kind: FaultKind::Fail });
        let failing = Options { fault, ..Options::default() };
        let result = applier::apply(target.pid(), &patch, &failing);
        match &result {
            // A failure after the change was made does not unmake it.
            Ok(outcome) => {
                assert_eq!(*outcome, Outcome::Done);
                assert_eq!(target.ask(), NEW);
            }
            Err(_) => assert_eq!(target.ask(), OLD, "step {step}"),
        }
        assert_eq!(target.tracer(), "0");
        let done = applier::apply(target.pid(), &patch, &Options::default()).unwrap();
        assert!(matches!(done, Outcome::Done | Outcome::Already), "{done:?}");
        assert_eq!(target.ask(), NEW);
        let taken_out = applier::deactivate(target.pid(), patch.uuid, &failing);
        assert_eq!(target.ask(), if taken_out.is_ok() { OLD } else { NEW }, "step {step}: {taken_out:?}");
        applier::deactivate(target.pid(), patch.uuid, &Options::default()).unwrap();
        assert_eq!(target.ask(), OLD);
        if result.is_ok() && taken_out.is_ok() && step > 40 {
            break;
        }
        assert!(step < 100);
    }
}
