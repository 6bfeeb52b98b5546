use crate::{
    manage::StopRequest,
    tests::fake::{Mood, Stage, process},
};
use patchfile::exit::ManageExit::Done;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Asks to stop after so many turns.
struct Turns(AtomicU32);

impl StopRequest for Turns {
    fn asked(&self) -> bool {
        false
    }

    fn wait(&self, _: Duration) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

fn serve(stage: &mut Stage, turns: u32) -> super::fake::Ran {
    stage.stop = Box::new(Turns(AtomicU32::new(turns)));
    let ran = stage.run("daemon").exits(Done);
    stage.stop = Box::new(crate::manage::NeverStop);
    ran
}

#[test]
fn new_processes_are_patched_and_busy_ones_tried_again() {
    let mut stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1 --pid 11").exits(Done);
    stage.run("remove HP1").exits(Done);
    stage.backend.change(10, |p| p.mood = Mood::Busy(3));
    stage.run("apply HP1 --timeout 0");
    stage.backend.processes.lock().unwrap().push(process(12, 1));
    serve(&mut stage, 4).says("process 12 (daemon) patched");
    for pid in [10, 11, 12] {
        assert!(stage.backend.runs(pid, uuid), "{pid}");
    }
    stage.run("list").says("ACTIVED  3        0");
    stage.run("log").says("daemon   pkg-1-1/HP1: process 12 (daemon): patched");
}

#[test]
fn accepted_ones_are_restored_at_boot() {
    let mut stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.run("accept HP1").exits(Done);
    stage.boot = "boot-2";
    stage.backend.change(10, |p| p.blocks.clear());
    serve(&mut stage, 1);
    assert!(stage.backend.runs(10, uuid));
}

#[test]
fn a_lost_state_is_rebuilt_and_written() {
    let mut stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.backend.change(11, |p| p.blocks.clear());
    std::fs::write(stage.state_file(), "").unwrap();
    serve(&mut stage, 1);
    assert!(stage.backend.runs(11, uuid));
    assert!(std::fs::read_to_string(stage.state_file()).unwrap().contains("ACTIVED"));
}

#[test]
fn pending_deactivation_is_completed() {
    let mut stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.backend.change(10, |p| p.mood = Mood::Busy(2));
    stage.run("deactive HP1 --timeout 0");
    assert!(stage.backend.runs(10, uuid));
    serve(&mut stage, 3);
    assert!(!stage.backend.runs(10, uuid));
}

#[test]
fn one_taken_out_of_a_process_by_hand_stays_out() {
    let mut stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.run("deactive HP1 --pid 10").exits(Done);
    serve(&mut stage, 2);
    assert!(!stage.backend.runs(10, uuid));
}
