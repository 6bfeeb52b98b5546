//! Processes whose patches are in memory without a name: no file descriptor was free.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    PAIR, Target,
    stage::{Stage, stage},
};
use std::process::Command;

/// A process that may open nothing any more.
fn closed(stage: &Stage) -> Target {
    let target = Target::start(&stage.program);
    let status = Command::new("prlimit").args(["--nofile=0", "--pid", &target.pid().to_string()]).status();
    assert!(status.unwrap().success());
    target
}

#[test]
fn are_taken_back_like_any_other() {
    let stage = stage("unnamed", PAIR);
    stage.install("HP1", 11, 22);
    let mut target = closed(&stage);
    let pid = target.pid();
    stage.run(&format!("apply HP1 --pid {pid}")).exits(0);
    assert_eq!(target.ask(), "11 22");
    assert!(!target.maps().contains("upatch:"));
    stage.run("status HP1").says("1 patched").says(&pid.to_string());
    stage.run(&format!("deactive HP1 --pid {pid}")).exits(0).says("1 process back");
    assert_eq!(target.ask(), "1 2");
    // It uses the memory that it has.
    let maps = target.maps();
    stage.run("active HP1").exits(0).says("1 process patched");
    assert_eq!(target.ask(), "11 22");
    assert_eq!(target.maps(), maps);
    stage.run("remove HP1").exits(0).says("1 process back");
    assert_eq!(target.ask(), "1 2");
}

#[test]
fn lie_beside_each_other() {
    let stage = stage("unnamed_two", PAIR);
    for (number, name) in (1..).zip(["HP1", "HP2", "HP3"]) {
        stage.install(name, 10 * number + 1, 10 * number + 2);
    }
    let mut target = closed(&stage);
    for name in ["HP1", "HP2", "HP3"] {
        stage.run(&format!("apply {name}")).exits(0);
    }
    assert_eq!(target.ask(), "31 32");
    // The kernel makes one mapping of what is beside each other and may be done with the same.
    let list = stage.run("list").exits(0).out;
    assert_eq!(list.matches("ACTIVED  1 ").count(), 3, "{list}");
    stage.run("remove HP3").exits(0).says("1 process back");
    assert_eq!(target.ask(), "21 22");
    stage.run("remove HP1").exits(0).says("1 process back");
    assert_eq!(target.ask(), "21 22");
    stage.run("remove HP2").exits(0).says("1 process back");
    assert_eq!(target.ask(), "1 2");
}
