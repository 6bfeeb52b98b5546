//! What is said is what is known.

use crate::{
    ProcessError,
    tests::fake::{Mood, Stage, process, write_patch},
};
use patchfile::exit::ManageExit::{Done, NotPermitted, Partly};

#[test]
fn nobody_says_what_runs_where_nobody_may_look() {
    let mut stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.backend.unseen = vec![7];
    for verb in ["deactive", "remove"] {
        let ran = stage.run(&format!("{verb} HP1 --pid 7")).exits(NotPermitted).warns("process 7");
        assert!(!ran.out.contains("no process runs"), "{ran:?}");
        stage.run(&format!("{verb} HP1 --pid 7 --dry-run")).exits(NotPermitted);
    }
    stage.run("status HP1").says("ACTIVED: 1 patched");
    stage
        .run("deactive HP1 --pid 7 --pid 10")
        .exits(Partly)
        .says("1 process back on the old code, 1 refused");
    assert!(!stage.backend.runs(10, uuid));
    // Of the whole system: what can be done is done, the rest is named, and the patch is not forgotten.
    stage.run("apply HP1").exits(Done);
    stage.run("remove HP1 --dry-run").exits(Partly).says("would take it out of process 10");
    stage.run("remove HP1").exits(Partly).says("DEACTIVED: 1 process back").warns("1 process (7)");
    let ran = stage.run("remove HP1").exits(NotPermitted).warns("not permitted to look into 1 process (7)");
    assert!(!ran.out.contains("no process runs"), "{ran:?}");
    stage.backend.unseen = Vec::new();
    stage.backend.hidden = true;
    stage.run("remove HP1").exits(NotPermitted).warns("hidepid");
    stage.run("list").warns("an unknown number of other processes");
    stage.backend.hidden = false;
    stage.run("remove HP1").exits(Done).says("NOT-APPLIED: no process runs its code");
}

#[test]
fn a_process_that_waits_for_a_patch_can_be_taken_off_the_list() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.backend.change(10, |p| p.mood = Mood::Busy(1000));
    stage.run("apply HP1 --pid 10 --timeout 0").exits(Partly);
    stage.run("deactive HP1 --pid 10").exits(Done).says("DEACTIVED: withdrawn from 1 process");
    stage.run("status HP1").says("DEACTIVED: 0 patched, 0 pending, 0 refused");
    // Of a patch for all processes, this one only.
    stage.run("apply HP1 --timeout 0").exits(Partly);
    stage.run("deactive HP1 --pid 10").exits(Done).says("ACTIVED: withdrawn from 1 process");
    stage
        .run("status HP1")
        .says("ACTIVED: 1 patched, 0 pending, 1 refused")
        .says("taken out of this process");
    stage.backend.change(10, |p| p.mood = Mood::Willing);
    stage.run("apply HP1 --pid 11").exits(Done);
    assert!(!stage.backend.runs(10, uuid));
    stage.run("log").says("withdrawn before it was patched");
}

#[test]
fn patches_of_one_name_for_different_programs_are_both_kept() {
    let stage = Stage::new([process(10, 1)]);
    let (a, b) = (stage.root.path().join("a/HP1"), stage.root.path().join("b/HP1"));
    let (one, two) = (write_patch(&a, "HP1", &[1], 1).uuid, write_patch(&b, "HP1", &[2], 1).uuid);
    stage.run(&format!("apply {}", a.display())).exits(Done);
    // Its processes end, and a patch of the same name for something else is applied.
    stage.backend.processes.lock().unwrap().clear();
    stage.backend.processes.lock().unwrap().extend([process(20, 2)]);
    stage.run(&format!("apply {}", b.display())).exits(Done);
    assert!(stage.backend.runs(20, two));
    let list =
        stage.run("list").exits(Done).warns("is the name of several patches").warns("/usr/bin/daemon2");
    assert_eq!(list.out.matches("ACTIVED").count(), 2, "{list:?}");
    stage.backend.processes.lock().unwrap().extend([process(11, 1)]);
    stage.run(&format!("active {one}")).exits(Done).says("1 process patched");
    assert!(stage.backend.runs(11, one) && stage.backend.runs(20, two));
    stage.run(&format!("remove {}", a.display())).exits(Done).says("1 process back");
    assert!(!stage.backend.runs(11, one) && stage.backend.runs(20, two));
    stage.run("status HP1").exits(Done).says("ACTIVED: 1 patched");
}

#[test]
fn what_covers_what_is_shown() {
    let stage = Stage::new([process(10, 1), process(20, 2)]);
    let one = stage.install("HP1", &[1]).uuid;
    stage.install("HP2", &[1]);
    stage.install("HP3", &[2]);
    stage.run("apply HP1 HP3").exits(Done);
    let list = stage.run("list").exits(Done).out;
    assert!(!list.contains("OVERLAPS"), "{list}");
    stage.run("apply HP2").exits(Done).warns("HP1 is active and replaces f of daemon too");
    stage.run("list").says("OVERLAPS").says("under pkg-1-1/HP2 (f)").says("over pkg-1-1/HP1 (f)");
    stage.run("status HP1").says("f of daemon: covered by pkg-1-1/HP2");
    stage.run("status HP2").says("f of daemon: in force over pkg-1-1/HP1");
    let json = stage.run("status --json HP1").json();
    let seen = &json["patches"][0]["overlaps"];
    assert_eq!((seen[0]["id"].as_str(), seen[0]["covered"].as_bool()), (Some("pkg-1-1/HP2"), Some(true)));
    // Taken out and put in again it is on top, in processes that start later too.
    stage.run("deactive HP1").exits(Done);
    assert!(!stage.run("list").out.contains("OVERLAPS"));
    stage.run("active HP1").exits(Done);
    stage.run("status HP1").says("in force over pkg-1-1/HP2");
    // Applied once more it is where it was.
    stage.run("apply HP2").exits(Done);
    stage.run("status HP1").says("in force over pkg-1-1/HP2");
    assert!(stage.backend.runs(10, one));
}

#[test]
fn patches_that_meet_in_no_process_do_not_overlap() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    stage.install("HP1", &[1]);
    stage.install("HP2", &[1]);
    stage.run("apply HP1 --pid 10").exits(Done);
    stage.run("apply HP2 --pid 11").exits(Done);
    assert!(!stage.run("list").out.contains("OVERLAPS"));
    stage.run("apply HP1 --pid 11").exits(Done);
    stage.run("list").says("OVERLAPS");
}

#[test]
fn a_refusal_to_be_looked_into_is_no_success() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    let denied = || ProcessError::NotPermitted { why: "yama".into() };
    stage.backend.change(10, |p| p.mood = Mood::Refuses(denied));
    stage.run("remove HP1 --pid 10").exits(NotPermitted);
    stage.run("remove HP1").exits(NotPermitted).warns("nothing was changed");
    assert!(stage.backend.runs(10, uuid));
}
