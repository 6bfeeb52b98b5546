use crate::tests::fake::{Mood, Stage, process, write_patch};
use patchfile::exit::ManageExit::{Done, Failed, Partly, Unknown};
use std::fs;

#[test]
fn there_and_back_again() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("list").exits(Done).says("NOT-APPLIED");
    stage.run("deactive HP1").exits(Done).says("NOT-APPLIED: no process runs its code");
    stage.run("apply HP1").exits(Done);
    stage.run("deactivate HP1").exits(Done).says("DEACTIVED: 1 process back on the old code");
    assert!(!stage.backend.runs(10, uuid));
    stage.run("list").says("DEACTIVED");
    stage.run("activate HP1").exits(Done).says("ACTIVED: 1 process patched");
    assert!(stage.backend.runs(10, uuid));
    stage.run("accept HP1").exits(Done);
    stage.run("apply HP1").exits(Done).says("ACCEPTED");
    stage.run("list").says("ACCEPTED");
    // What was confirmed is confirmed when it is in force again, until it is forgotten.
    stage.run("deactive HP1").exits(Done).says("DEACTIVED");
    stage.run("active HP1 --pid 10").exits(Done).says("ACTIVED");
    stage.run("deactive HP1 --pid 10").exits(Done).says("DEACTIVED");
    stage.run("active HP1").exits(Done).says("ACCEPTED: 1 process patched");
    stage.run("deactive HP1").exits(Done);
    stage.run("remove HP1").exits(Done).says("NOT-APPLIED");
    assert!(!stage.backend.runs(10, uuid));
    stage.run("apply HP1").exits(Done).says(": ACTIVED");
    stage.run("remove HP1").exits(Done);
    stage.run("accept HP1").exits(Failed).warns("is NOT-APPLIED").warns("upatch apply pkg-1-1/HP1");
    let log = stage.run("log").exits(Done).says("apply    pkg-1-1/HP1: process 10 (daemon): patched").out;
    for word in ["ACTIVED", "old code back", "DEACTIVED", "ACCEPTED", "remove"] {
        assert!(log.contains(word), "{word} is not in {log}");
    }
    stage.run("log NOPE").exits(Done);
    let line = stage.run("log --json HP1").out;
    assert!(serde_json::from_str::<serde_json::Value>(line.lines().next().unwrap()).is_ok());
}

#[test]
fn a_busy_process_keeps_the_new_code_and_that_is_shown() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.backend.change(10, |p| p.mood = Mood::Busy(5));
    stage.run("remove HP1 --timeout 0").exits(Partly).warns("process 10 (daemon) is pending");
    stage.run("status HP1").says("DEACTIVED: 1 patched").says("deactivation pending: thread 10 is in f");
    assert!(stage.backend.runs(10, uuid) && !stage.backend.runs(11, uuid));
    stage.run("remove HP1").exits(Done);
    stage.run("list").says("NOT-APPLIED");
}

#[test]
fn out_of_one_process_only() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.run("deactive HP1 --pid 10").exits(Done).says("ACTIVED: 1 process back");
    assert!(!stage.backend.runs(10, uuid) && stage.backend.runs(11, uuid));
    stage
        .run("status HP1")
        .says("1 patched, 0 pending, 1 refused")
        .says("taken out of this process with --pid");
    stage.run("apply HP1 --pid 10").exits(Done);
    stage.run("status HP1").says("2 patched, 0 pending, 0 refused");
    stage.run("remove HP1").exits(Done);
    stage.run("apply HP1 --pid 10").exits(Done);
    stage.run("deactive HP1 --pid 10").exits(Done).says("DEACTIVED");
    stage.run("apply HP1 --pid 10").exits(Done);
    stage.run("remove HP1 --pid 10").exits(Done).says("NOT-APPLIED");
}

#[test]
fn accepted_patches_survive_a_reboot_and_others_do_not() {
    let mut stage = Stage::new([process(10, 1), process(11, 2)]);
    let (one, two) = (stage.install("HP1", &[1]).uuid, stage.install("HP2", &[2]).uuid);
    stage.run("apply HP1 HP2").exits(Done);
    stage.run("accept HP1").exits(Done);
    stage.boot = "boot-2";
    for pid in [10, 11] {
        stage.backend.change(pid, |p| p.blocks.clear());
    }
    stage.run("list").says("HP1  ACCEPTED     0        1").says("HP2  NOT-APPLIED  0        0");
    stage.run("restore --accepted").exits(Done).says("HP1: ACCEPTED: 1 process patched");
    assert!(stage.backend.runs(10, one) && !stage.backend.runs(11, two));
}

#[test]
fn saved_states_come_back() {
    let mut stage = Stage::new([process(10, 1), process(11, 2)]);
    let (one, two) = (stage.install("HP1", &[1]).uuid, stage.install("HP2", &[2]).uuid);
    stage.run("restore").exits(Done).says("nothing to restore");
    stage.run("apply HP1 HP2").exits(Done);
    stage.run("deactive HP2").exits(Done);
    stage.run("save").exits(Done).says("2 patches");
    stage.boot = "boot-2";
    stage.backend.change(10, |p| p.blocks.clear());
    stage.run("restore --dry-run").exits(Done).says("HP1: would be ACTIVED");
    stage.run("restore").exits(Done);
    assert!(stage.backend.runs(10, one) && !stage.backend.runs(11, two));
    stage.run("list").says("HP1  ACTIVED");
}

#[test]
fn a_lost_or_damaged_state_is_read_from_the_processes() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.backend.change(11, |p| p.blocks.clear());
    fs::write(stage.state_file(), "patches: [").unwrap();
    stage.run("list").exits(Done).says("ACTIVED  1        1").warns("read from the processes instead");
    fs::remove_file(stage.state_file()).unwrap();
    stage.run("list").exits(Done).says("ACTIVED  1        1");
    stage.run("deactive HP1").exits(Done);
    assert!(!stage.backend.runs(10, uuid));
}

#[test]
fn a_process_knows_a_patch_that_nothing_else_knows() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    fs::remove_dir_all(stage.directory("HP1")).unwrap();
    stage.run("list").says("pkg-1-1/HP1  ACTIVED  1        0        0        (files gone)");
    stage.run("info HP1").exits(Unknown).warns("its files are gone");
    stage.run("apply HP1").exits(Unknown);
    stage
        .run("rescan")
        .exits(Done)
        .warns("its files are gone, but processes still run it")
        .says("0 patches known");
    fs::remove_file(stage.state_file()).unwrap();
    stage.run("status HP1").exits(Done).says("1 patched");
    stage.run(&format!("remove {uuid}")).exits(Done);
    assert!(!stage.backend.runs(10, uuid));
}

#[test]
fn a_patch_applied_by_path_is_kept() {
    let stage = Stage::new([process(10, 1)]);
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("HP9");
    let uuid = write_patch(&dir, "HP9", &[1], 1).uuid;
    stage.run(&format!("apply {}", dir.display())).exits(Done);
    let kept = stage.root.path().join(format!("var/lib/upatch/patches/{uuid}/daemon1.upatch"));
    fs::write(kept, "damaged").unwrap();
    stage.run(&format!("apply {}", dir.display())).exits(Done);
    drop(out);
    stage.run("list").says("pkg-1-1/HP9  ACTIVED  1");
    stage.run("deactive HP9").exits(Done);
    stage.run("active HP9").exits(Done);
    assert!(stage.backend.runs(10, uuid));
    stage.run("accept HP9").exits(Done);
    stage.run("remove HP9").exits(Done);
    stage.run("status HP9").exits(Unknown);
}

#[test]
fn rescan_forgets_what_is_nowhere() {
    let stage = Stage::new([]);
    stage.install("HP1", &[1]);
    stage.run("apply HP1").exits(Done);
    fs::remove_dir_all(stage.directory("HP1")).unwrap();
    stage.run("rescan").exits(Done).warns("forgotten");
    stage.run("status HP1").exits(Unknown);
}
