use crate::tests::fake::{Mood, Stage, process};
use patchfile::exit::ManageExit::{Done, Partly, Unknown};
use serde_json::json;

#[test]
fn json_of_every_verb_that_has_it() {
    let stage = Stage::new([process(10, 1), process(11, 1)]);
    let manifest = stage.install("HP1", &[1]);
    stage.backend.change(11, |p| p.mood = Mood::Busy(9));
    stage.run("apply HP1 --timeout 0").exits(Partly);
    let listed = stage.run("list --json").exits(Done).json();
    let patch = &listed["patches"][0];
    assert_eq!(patch["id"], "pkg-1-1/HP1");
    assert_eq!(patch["uuid"], manifest.uuid.to_string());
    assert_eq!(patch["state"], "ACTIVED");
    assert_eq!(patch["cve"], json!(["CVE-2025-1"]));
    assert_eq!(patch["processes"], json!({"patched": 1, "pending": 1, "refused": 0}));
    let status = stage.run("status --json HP1").exits(Done).json();
    let line = |pid, state: &str, why| json!({"pid": pid, "comm": "daemon", "state": state, "why": why});
    let lines = json!([line(10, "patched", None), line(11, "pending", Some("thread 11 is in f"))]);
    assert_eq!(status["patches"][0]["processes"], lines);
    let info = stage.run("info --json HP1").exits(Done).json();
    assert_eq!(info["patches"][0]["elfs"][0]["changed"], json!(["f"]));
    assert_eq!(info["patches"][0]["state"], "ACTIVED");
    let target = stage.run("target --json HP1").exits(Done).json();
    assert_eq!(target["patches"][0]["package"]["nvr"], "pkg-1-1");
    assert_eq!(target["patches"][0]["elfs"][0]["path"], "/usr/bin/daemon1");
    let check = stage.run("check --json HP1").exits(Partly).json();
    let lines = json!([line(10, "patched", None), line(11, "busy", Some("thread 11 is in f"))]);
    assert_eq!(check["patches"][0]["processes"], lines);
}

#[test]
fn info_shows_what_the_contract_names() {
    let stage = Stage::new([]);
    let manifest = stage.install("HP1", &[1]);
    let out = stage.run("info HP1").exits(Done).out;
    for field in [
        "uuid",
        "name",
        "version",
        "release",
        "arch",
        "type",
        "target",
        "elf",
        "digest",
        "cve",
        "license",
        "description",
    ] {
        assert!(out.contains(&format!("{field}:")), "{field} is not in {out}");
    }
    assert!(out.contains(&manifest.digest.unwrap().to_string()));
    stage.run("target HP1").exits(Done).says("pkg-1-1").says("/usr/bin/daemon1").says(&"01".repeat(20));
    stage.run("info NOPE").exits(Unknown);
    stage.run("status NOPE").exits(Unknown);
}

#[test]
fn check_reads_only() {
    let stage = Stage::new([process(10, 1)]);
    let uuid = stage.install("HP1", &[1]).uuid;
    stage.run("check HP1").exits(Done).says("process 10 (daemon): ready").says("HP1: fits");
    assert!(!stage.backend.runs(10, uuid) && !stage.state_file().exists());
    stage.backend.change(10, |p| p.builds = vec![9]);
    stage.run("check HP1").exits(Done).says("fits: no process runs its target now");
}

#[test]
fn others_processes_are_said_to_be_left_out() {
    let mut stage = Stage::new([]);
    stage.uid = 4711;
    stage.backend.unseen = vec![5, 6];
    stage.run("list").exits(Done).warns("2 other processes may not be looked into");
}

#[test]
fn manual_page_and_completions() {
    let stage = Stage::new([]);
    let page = stage.run("man").exits(Done).out;
    for verb in ["APPLY", "DEACTIVE", "RESTORE", "DAEMON"] {
        assert!(page.contains(&format!("UPATCH {verb}")), "{verb}");
    }
    for section in ["NAMES OF PATCHES", "EXAMPLES", "EXIT STATUS", "FILES", "SEE ALSO"] {
        assert!(page.contains(&format!("\n.SH {section}\n")), "{section}");
    }
    for code in 0..=patchfile::exit::ManageExit::NotPermitted as u8 {
        assert!(page.contains(&format!("\n\\fB{code}\\fR\n")), "exit code {code}");
    }
    stage.run("completions bash").exits(Done).says("upatch");
}
