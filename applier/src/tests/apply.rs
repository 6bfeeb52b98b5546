use crate::{
    ProcessError,
    manage::StopRequest,
    tests::fake::{Mood, Stage, process, write_patch},
};
use patchfile::exit::ManageExit::{Conflict, DoesNotFit, Done, Failed, NotPermitted, Partly, Unknown, Usage};
use std::{fs, time::Duration};

fn refuses(stage: &Stage, pid: i32, error: fn() -> ProcessError) {
    stage.backend.change(pid, |p| p.mood = Mood::Refuses(error));
}

#[test]
fn every_process_of_the_build_and_no_other() {
    let stage = Stage::new([process(10, 1), process(11, 1), process(12, 2)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done).says("pkg-1-1/HP1: ACTIVED: 2 processes patched");
    assert!(stage.backend.runs(10, uuid) && stage.backend.runs(11, uuid) && !stage.backend.runs(12, uuid));
    stage.run("apply pkg-1-1/HP1").exits(Done);
    stage.run(&format!("apply {uuid}")).exits(Done);
    stage.run("apply pkg/HP1").exits(Done);
}

#[test]
fn one_that_starts_meanwhile_is_patched_too() {
    let stage = Stage::new([process(10, 1)]);
    *stage.backend.newcomer.lock().unwrap() = Some(process(11, 1));
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done).says("2 processes");
    assert!(stage.backend.runs(11, uuid));
}

#[test]
fn no_process_is_no_failure() {
    let stage = Stage::new([]);
    stage.install("HP1", &[1]);
    stage.run("apply HP1").exits(Done).says("0 processes");
    stage.run("list").exits(Done).says("ACTIVED");
}

#[test]
fn busy_ones_are_retried_until_time_is_up() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.backend.change(10, |p| p.mood = Mood::Busy(3));
    stage.run("apply HP1").exits(Done);
    assert!(stage.backend.runs(10, uuid));
    stage.run("remove HP1").exits(Done);
    stage.backend.change(10, |p| p.mood = Mood::Busy(3));
    let warning = "process 10 (daemon) is pending: thread 10 is in f";
    stage.run("apply HP1 --timeout 0").exits(Partly).warns(warning).says("1 process patched, 1 pending");
    stage.run("status HP1").says("pending: thread 10 is in f").says("1 patched, 1 pending, 0 refused");
    assert!(!stage.backend.runs(10, uuid));
}

#[test]
fn refused_everywhere_changes_nothing_and_says_what_for() {
    let stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    for (error, exit) in [
        ((|| ProcessError::NotPermitted { why: "no".into() }) as fn() -> ProcessError, NotPermitted),
        (|| ProcessError::Unfit { why: "other".into() }, DoesNotFit),
        (|| ProcessError::Conflict { why: "other".into() }, Conflict),
        (|| ProcessError::Traced { by: 1 }, Failed),
    ] {
        refuses(&stage, 10, error);
        stage
            .run("apply HP1")
            .exits(exit)
            .warns("process 10 (daemon) is refused")
            .warns("error: pkg-1-1/HP1: ");
        stage.run("list").says("NOT-APPLIED");
    }
}

#[test]
fn refused_in_some_is_named() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    stage.install("HP1", &[1]);
    refuses(&stage, 11, || ProcessError::Traced { by: 5 });
    stage
        .run("apply HP1")
        .exits(Partly)
        .warns("process 11 (daemon) is refused: process is being traced by process 5");
    stage.run("status HP1").says("1 patched, 0 pending, 1 refused");
}

#[test]
fn a_process_that_ends_meanwhile_is_neither() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    stage.install("HP1", &[1]);
    stage.backend.change(10, |p| p.mood = Mood::Dies);
    stage.run("apply HP1").exits(Done).says("1 process patched");
}

#[test]
fn a_process_that_executes_another_program_meanwhile_is_neither() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    stage.install("HP1", &[1]);
    refuses(&stage, 10, || ProcessError::NotMapped);
    stage.run("apply HP1").exits(Done).says("1 process patched");
}

#[test]
fn only_the_processes_named() {
    let stage = Stage::new([process(10, 1), process(11, 1), process(12, 2)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1 --pid 10").exits(Done);
    assert!(stage.backend.runs(10, uuid) && !stage.backend.runs(11, uuid));
    stage.run("list").says("ACTIVED  1        0        0");
    stage.run("apply HP1 --pid 12").exits(DoesNotFit).warns("process 12: maps no ELF file of the build");
    stage.run("apply HP1 --pid 11 --pid 12").exits(Partly).warns("process 12");
    stage.run("apply HP1 --pid 99").exits(Failed).warns("there is no such process");
    stage.run("apply HP1 --pid 0").exits(Usage);
}

#[test]
fn another_build_on_disk_or_running_does_not_fit() {
    let mut stage = Stage::new([]);
    stage.install("HP1", &[1]);
    let disk = stage.root.path().join("usr/bin/daemon1");
    fs::create_dir_all(disk.parent().unwrap()).unwrap();
    fs::copy(std::env::current_exe().unwrap(), &disk).unwrap();
    stage.run("apply HP1").exits(DoesNotFit).warns("daemon1 has build-id").warns("this one is for pkg-1-1");
    fs::remove_file(disk).unwrap();
    stage.backend.namesakes = vec![(77, "/usr/bin/daemon".into())];
    stage.run("apply HP1").exits(DoesNotFit).warns("process 77 runs another build");
    stage.run("check HP1").exits(DoesNotFit);
}

#[test]
fn unknown_and_ambiguous_names() {
    let stage = Stage::new([]);
    stage.install("HP1", &[1]);
    write_patch(&stage.root.path().join("usr/lib/upatch/patches/other-1-1/HP1"), "HP1", &[2], 1);
    stage.run("apply NOPE").exits(Unknown).warns("error: NOPE: no patch of this name is known");
    // Same package name in both manifests: even the long form stands for two.
    stage.run("apply HP1").exits(Unknown).warns("stands for 2 patches").warns("it could be pkg-1-1/HP1 (");
    stage.run("apply ./nowhere").exits(Unknown);
    stage.run("apply").exits(Usage);
    stage.run("apply HP1 --timeout never").exits(Usage);
    stage.run("frobnicate").exits(Usage);
}

#[test]
fn several_at_once_and_unknown_ones_before_anything_is_done() {
    let stage = Stage::new([process(10, 1), process(11, 2)]);
    let (one, two) = (stage.install("HP1", &[1]).uuid, stage.install("HP2", &[2]).uuid);
    stage.run("apply HP1 NOPE").exits(Unknown);
    assert!(!stage.backend.runs(10, one));
    refuses(&stage, 11, || ProcessError::Traced { by: 1 });
    stage.run("apply HP1 HP2").exits(Partly);
    assert!(stage.backend.runs(10, one) && !stage.backend.runs(11, two));
}

#[test]
fn all_elf_files_of_a_process() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1, 2]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.run("status HP1").says("patched");
    // The library is loaded later.
    stage.backend.change(10, |p| p.builds.push(2));
    stage.run("status HP1").says("pending: one of the patch's ELF files was loaded later");
    stage.run("apply HP1").exits(Done);
    assert_eq!(stage.backend.processes.lock().unwrap()[0].blocks, [(uuid, 0, true), (uuid, 1, true)]);
    stage.run("status HP1").says("1 patched, 0 pending");
}

#[test]
fn without_root_only_named_processes() {
    let mut stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    stage.uid = 4711;
    stage.run("apply HP1").exits(NotPermitted).warns("--pid");
    for verb in ["deactive HP1", "remove HP1", "accept HP1", "save", "restore", "rescan", "daemon"] {
        stage.run(verb).exits(NotPermitted);
    }
    if nix::unistd::geteuid().is_root() {
        stage.run("apply HP1 --pid 10").exits(Done);
    }
    stage.backend.unseen = vec![33];
    stage.run("apply HP1 --pid 33").exits(NotPermitted);
}

#[test]
fn dry_run_changes_nothing() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("apply --dry-run HP1").exits(Done).says("would patch process 10");
    assert!(!stage.backend.runs(10, uuid) && !stage.state_file().exists());
    stage.run("apply HP1").exits(Done);
    for verb in ["deactive", "remove"] {
        stage.run(&format!("{verb} --dry-run HP1")).exits(Done).says("would take it out of process 10");
    }
    stage.run("accept --dry-run HP1").exits(Done);
    stage.run("list").says("ACTIVED ");
}

/// Asks to stop from the second time it is looked at.
#[derive(Default)]
struct Impatient(std::sync::atomic::AtomicU32);

impl StopRequest for Impatient {
    fn asked(&self) -> bool {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2
    }

    fn wait(&self, _: Duration) -> bool {
        true
    }
}

#[test]
fn an_interrupt_stops_between_processes_with_a_summary() {
    let mut stage = Stage::new((10..40).map(|pid| process(pid, 1)));
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.stop = Box::new(Impatient::default());
    let ran = stage.run("apply HP1").warns("interrupted; no process was left half done");
    let patched = (10..40).filter(|pid| stage.backend.runs(*pid, uuid)).count();
    assert!(patched > 0 && patched < 30, "{patched}");
    ran.exits(Partly).says(&format!("{patched} process"));
}

#[test]
fn a_patch_over_another_is_told() {
    let stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    write_patch(&stage.directory("HP2"), "HP2", &[1], 1);
    stage.run("apply HP1").exits(Done);
    stage.run("apply HP2").exits(Done).warns("pkg-1-1/HP1 is active and replaces f of daemon too");
}

#[test]
fn a_new_version_takes_over() {
    let stage = Stage::new([process(10, 1)]);
    let old = stage.install("HP1", &[1]).uuid;
    stage.run("apply HP1").exits(Done);
    stage.run("accept HP1").exits(Done);
    let new = write_patch(&stage.directory("HP1"), "HP1", &[1], 2).uuid;
    assert_ne!(old, new);
    stage.run("apply HP1").exits(Done).says("ACCEPTED");
    assert!(stage.backend.runs(10, new) && !stage.backend.runs(10, old));
    let listed = stage.run("list --json").json();
    assert_eq!(listed["patches"].as_array().unwrap().len(), 1, "{listed}");
}
