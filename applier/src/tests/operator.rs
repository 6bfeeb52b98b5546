use crate::tests::fake::{Mood, Stage, process, write_patch};
use patchfile::exit::ManageExit::{DoesNotFit, Done, Failed, Partly, Unknown, Usage};
use serde_json::json;
use std::fs;

#[test]
fn patches_are_found_as_people_call_them() {
    let stage = Stage::new([]);
    let uuid = stage.install("HP1", &[1]).uuid.to_string();
    for id in ["HP1", "hp1", "pkg", "pkg-1", "PKG-1-1", "pkg/hp1", "pkg-1-1/HP1", "cve-2025-1", &uuid[..8]] {
        stage.run(&format!("info {id}")).exits(Done).says("pkg-1-1/HP1");
    }
    stage.run("info HP2").exits(Unknown).warns("did you mean pkg-1-1/HP1?");
    stage.run(&format!("info {}", &uuid[..5])).exits(Unknown);
    stage.install("HP3", &[1]);
    stage.run("info pkg").exits(Unknown).warns("stands for 2 patches").warns("pkg-1-1/HP3");
    stage.run("info hp3").exits(Done).says("pkg-1-1/HP3");
}

#[test]
fn status_without_id_tells_what_is_not_as_it_should_be() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    stage.install("HP1", &[1]);
    stage.run("status").exits(Done).says("all is as it should be: 1 patch known, 0 processes patched");
    stage.backend.change(11, |p| p.mood = Mood::Busy(9));
    stage.run("apply HP1 --timeout 0").exits(Partly);
    stage
        .run("status")
        .exits(Partly)
        .says("pkg-1-1/HP1")
        .says("thread 11 is in f")
        .says("service: not running");
    assert_eq!(stage.run("status --json").exits(Partly).json()["patches"][0]["id"], "pkg-1-1/HP1");
}

#[test]
fn lists_are_narrowed() {
    let stage = Stage::new([process(10, 1), process(11, 2)]);
    stage.install("HP1", &[1]);
    stage.install("HP2", &[2]);
    stage.backend.change(11, |p| p.mood = Mood::Busy(9));
    stage.run("apply HP1").exits(Done);
    stage.run("apply HP2 --timeout 0").exits(Partly);
    let ids = |line: &str| {
        let json = stage.run(&format!("list --json {line}")).exits(Done).json();
        let ids = json["patches"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids("--pending"), ["HP2"]);
    assert_eq!(ids("--package pkg"), ["HP1", "HP2"]);
    assert_eq!(ids("--package other"), [""; 0]);
    assert_eq!(ids("--cve cve-2025-1 --state actived"), ["HP1", "HP2"]);
    assert_eq!(ids("--state DEACTIVED"), [""; 0]);
    stage.run("list --state no-such").exits(Usage);
    stage.run("list").exits(Done).says("VERSION").says("1-1");
}

#[test]
fn apply_says_what_does_not_last() {
    let stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    let ran = stage.run("apply HP1").exits(Done);
    let ran = ran.says("`upatch accept pkg-1-1/HP1` makes it last").says("systemctl enable --now upatch");
    assert!(ran.out.starts_with("pkg-1-1/HP1: ACTIVED: 1 process patched\n"), "{}", ran.out);
    stage.run("accept HP1").exits(Done);
    assert!(!stage.run("apply HP1").exits(Done).out.contains("accept"));
}

#[test]
fn history_outlives_the_patch() {
    let stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    stage.run("apply HP1").exits(Done);
    stage.run("deactive HP1").exits(Done);
    let out = stage.run("history HP1").exits(Done).out;
    assert!(out.contains("ACTIVED") && out.contains("process 10 (daemon): patched"), "{out}");
    assert!(out.lines().last().unwrap().ends_with("DEACTIVED: 0 patched, 0 pending, 0 refused"), "{out}");
    stage.run("remove HP1").exits(Done);
    std::fs::remove_dir_all(stage.directory("HP1")).unwrap();
    stage.run("history HP1").exits(Done).says("process 10").says("HP1: not known any more");
    stage.run("history NOPE").exits(Unknown);
    assert_eq!(stage.run("log -n 1 HP1").exits(Done).out.lines().count(), 1);
    assert_eq!(stage.run("log --since 1h HP1").exits(Done).out, stage.run("log HP1").exits(Done).out);
    stage.run("log --since yesterday").exits(Usage).warns("90m, 2h, 3d");
}

#[test]
fn what_runs_old_code_is_named_with_what_helps() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    stage.install("HP1", &[1]);
    stage.run("needs-restart").exits(Done).says("no process runs old code that is known");
    stage.backend.change(11, |p| p.mood = Mood::Busy(9));
    stage.run("apply HP1 --timeout 0").exits(Partly);
    let ran = stage.run("needs-restart").exits(Partly);
    ran.says("upatch apply --timeout 60 pkg-1-1/HP1; else: ").says("     11  daemon").says("HP1 is pending");
    let json = stage.run("needs-restart --json").exits(Partly).json();
    assert_eq!(json["processes"][0]["pid"], 11);
    assert_eq!(json["processes"].as_array().unwrap().len(), 1);
}

#[test]
fn prune_drops_what_fits_nothing_any_more() {
    let stage = Stage::new([process(10, 1)]);
    let place = tempfile::tempdir().unwrap();
    let uuid = crate::tests::fake::write_patch(place.path(), "HP1", &[1], 1).uuid;
    std::fs::write(place.path().join("daemon1.upatch.debug"), "for debuggers").unwrap();
    let path = place.path().display().to_string();
    stage.run(&format!("apply {path}")).exits(Done);
    let kept = crate::catalog::kept_directory(stage.root.path(), uuid);
    assert_eq!(std::fs::read(kept.join("daemon1.upatch.debug")).unwrap(), b"for debuggers");
    // A process runs it.
    stage.run("prune").exits(Done);
    stage.run("info HP1").exits(Done);
    stage.backend.processes.lock().unwrap().clear();
    stage.run("prune --dry-run").exits(Done).says("pkg-1-1/HP1: would be dropped");
    stage.run("info HP1").exits(Done);
    stage.run("prune").exits(Done).says("pkg-1-1/HP1: dropped: nothing that it fits is there any more");
    stage.run("info HP1").exits(Unknown);
    // What a package installed is the package manager's.
    stage.install("HP2", &[2]);
    stage.run("prune").exits(Done).says("rpm -e $(rpm -qf ");
    assert!(stage.directory("HP2").exists());
}

#[test]
fn doctor_tells_what_is_wrong_and_what_to_do() {
    let stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    stage.run("apply HP1").exits(Done);
    stage.run("accept HP1").exits(Done);
    let ran = stage.run("doctor").exits(Failed).says("wrong: the service is not running");
    ran.says("systemctl enable upatch");
    let json = stage.run("doctor --json").exits(Failed).json();
    assert!(json["findings"].as_array().unwrap().iter().any(|f| f["wrong"] == json!(true)));
}

#[test]
fn gdb_commands_name_the_file_and_the_place() {
    let stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    stage.run("gdb 10").exits(Failed).warns("has no patch");
    stage.run("apply HP1").exits(Done);
    let file = stage.directory("HP1").join("daemon1.upatch");
    assert_eq!(
        stage.run("gdb 10").exits(Done).out,
        format!("add-symbol-file {} -o 0x1000\n", file.display())
    );
}

#[test]
fn hints_fit_what_is_wrong() {
    let stage = Stage::new([process(10, 1)]);
    stage.install("HP1", &[1]);
    stage.run("apply HP1").exits(Done);
    let manifest = stage.directory("HP1").join("manifest.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("format: 1", "format: 9")).unwrap();
    stage.run("info HP1").exits(DoesNotFit).warns("format version 9");
    let dir = stage.directory("HP1");
    let newer = stage.run(&format!("apply {}", dir.display())).exits(DoesNotFit).warns("update upatch");
    assert!(!newer.err.contains("damaged"), "{}", newer.err);
    fs::write(&manifest, text.replace("a fix", "a trick")).unwrap();
    stage.run(&format!("check {}", dir.display())).exits(DoesNotFit).warns("a manifest cannot be edited");
    let edited =
        stage.run("status HP1").exits(Done).says("its files cannot be used").says("was changed after");
    assert!(!edited.out.contains("are gone"), "{}", edited.out);
    stage.run("list").exits(Done).says("(files unusable)");
}

#[test]
fn a_dry_run_counts_what_would_change() {
    let stage = Stage::new([process(10, 1), process(11, 1), process(12, 1)]);
    stage.install("HP1", &[1]);
    stage.run("apply HP1 --pid 10").exits(Done);
    stage.backend.change(12, |p| p.mood = Mood::Busy(9));
    stage
        .run("apply HP1 --dry-run")
        .exits(Partly)
        .says("dry run: 1 process would be patched, 1 is so already, 1 pending");
    stage.run("remove HP1 --dry-run").exits(Done).says("dry run: 1 process would get the old code back");
}

#[test]
fn one_patch_takes_the_place_of_all_others_of_its_package() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let (one, two) = (stage.install("HP1", &[1]).uuid, stage.install("HP2", &[1]).uuid);
    let all = stage.install("ALL", &[1]).uuid;
    stage.run("apply HP1 HP2").exits(Done);
    stage.backend.change(11, |p| p.mood = Mood::Busy(9));
    stage.run("apply ALL --replace --timeout 0").exits(Partly).warns("the other patches of pkg stay");
    assert!(stage.backend.runs(10, all) && stage.backend.runs(10, one) && stage.backend.runs(11, two));
    stage.backend.change(11, |p| p.mood = Mood::Willing);
    stage.run("apply ALL --replace").exits(Done);
    for pid in [10, 11] {
        assert!(
            stage.backend.runs(pid, all) && !stage.backend.runs(pid, one) && !stage.backend.runs(pid, two)
        );
    }
}

#[test]
fn shells_complete_what_is_there() {
    let stage = Stage::new([process(10, 1), process(11, 2)]);
    stage.install("HP1", &[1]);
    assert_eq!(stage.run("complete pids").exits(Done).out, "");
    stage.run("apply HP1").exits(Done);
    assert_eq!(stage.run("complete ids").exits(Done).out, "CVE-2025-1\nHP1\npkg-1-1/HP1\n");
    assert_eq!(stage.run("complete pids").exits(Done).out, "10\n");
    stage.run("completions bash").says("complete -F _upatch_with_names").says("upatch complete ids");
    stage.run("completions zsh").says("*::ids -- The patches:_upatch_ids").says(":PID:_upatch_pids");
    stage.run("completions fish").says("upatch complete pids");
}

#[test]
fn a_package_is_no_directory() {
    let stage = Stage::new([]);
    let file = stage.root.path().join("patch-x.rpm");
    fs::write(&file, "no RPM").unwrap();
    stage.run(&format!("info {}", file.display())).exits(Failed).warns("patch-x.rpm: ").warns("rpm -qpl");
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("info patch-pkg-1-1-HP1-1-1").exits(Done).says(&uuid.to_string());
    stage.run("info patch-pkg-1-1-HP12").exits(Unknown);
}

#[test]
fn a_version_that_another_one_took_the_place_of_waits_for_nothing() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let dirs = [1, 2].map(|version| {
        let dir = stage.root.path().join(format!("made-{version}"));
        (write_patch(&dir, "WORK", &[1], version).uuid, dir)
    });
    for (_, dir) in &dirs {
        stage.run(&format!("apply --pid 10 {}", dir.display())).exits(Done);
    }
    assert!(stage.backend.runs(10, dirs[1].0) && !stage.backend.runs(10, dirs[0].0));
    let json = stage.run("list --json").exits(Done).json();
    let listed: Vec<_> = json["patches"].as_array().unwrap().iter().map(|p| &p["uuid"]).collect();
    assert_eq!(listed, [&json!(dirs[1].0)]);
    assert_eq!(json["patches"][0]["processes"], json!({ "patched": 1, "pending": 0, "refused": 0 }));
}

#[test]
fn a_process_that_is_left_alone_is_no_trouble() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.backend.change(11, |p| p.opts_out = true);
    stage.run("check HP1").exits(Partly).says("process 11 (daemon): refused: left alone: by the test");
    stage.run("apply HP1 --dry-run").exits(Partly).says("1 process would be patched, 1 refused");
    stage.run("apply HP1").exits(Partly).warns("process 11 (daemon) is refused: left alone: by the test");
    assert!(stage.backend.runs(10, uuid) && !stage.backend.runs(11, uuid));
    stage.run("status HP1").exits(Done).says("refused: left alone");
    let status = stage.run("status");
    assert!(!status.out.contains("pkg-1-1/HP1"), "{status:?}");
    stage.run("remove HP1").exits(Done);
    stage.run("apply HP1 --pid 11").exits(Failed).warns("no process could be patched; nothing was changed");
}

#[test]
fn apply_tells_programs_how_it_ended() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    stage.install("HP1", &[1]);
    stage.backend.change(11, |p| p.mood = Mood::Busy(9));
    let json = stage.run("apply HP1 --timeout 0 --json").exits(Partly).json();
    assert_eq!(json["exit"], 3);
    assert_eq!(json["patches"][0]["state"], "ACTIVED");
    assert_eq!(json["patches"][0]["counts"], json!({ "patched": 1, "pending": 1, "refused": 0 }));
    assert_eq!(json["patches"][0]["processes"][1]["pid"], 11);
    let json = stage.run("apply HP2 --json").exits(Unknown).warns("no patch of this name").json();
    assert_eq!(json, json!({ "patches": [], "exit": 4 }));
}
