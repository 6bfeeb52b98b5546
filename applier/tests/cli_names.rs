//! Odd names, of programs, processes and patch directories: spaces, newlines, what is no text, what a
//! terminal would obey.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    PAIR, Target,
    stage::{Ran, Stage, is_root, stage, until},
};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::PathBuf, process::Command};

const ODD: [&[u8]; 5] =
    [b"with space", b"new\nline", b"no\xfftext", b"\x1b[2Jescape", b"quote\"and\\back (deleted)"];

/// The program under another name.
fn copy(stage: &Stage, name: &[u8]) -> PathBuf {
    let dir = stage.dir.path().join(OsStr::from_bytes(name));
    fs::create_dir(&dir).unwrap();
    let path = dir.join(OsStr::from_bytes(name));
    fs::copy(&stage.program, &path).unwrap();
    path
}

/// What is for a terminal has nothing in it that a terminal obeys; what is for programs is JSON.
fn readable(stage: &Stage) {
    for line in
        ["list", "status HP1", "check HP1", "log", "list --json", "status HP1 --json", "check HP1 --json"]
    {
        let ran = stage.run(line).exits(0);
        for text in [&ran.out, &ran.err] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{line}: {text:?}");
        }
        if line.ends_with("--json") {
            serde_json::from_str::<serde_json::Value>(&ran.out).unwrap();
        }
    }
    let log = stage.run("log --json").exits(0).out;
    assert!(log.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()), "{log}");
}

#[test]
fn of_programs_and_processes() {
    let stage = stage("names", PAIR);
    stage.install("HP1", 11, 22);
    let programs = ODD.map(|name| copy(&stage, name));
    let mut targets = programs.each_ref().map(|p| Target::start(p));
    stage.run("apply HP1").exits(0).says("5 processes");
    for target in &mut targets {
        assert_eq!(target.ask(), "11 22");
    }
    readable(&stage);
    stage.run("status HP1").says("5 patched");
    stage.run("deactive HP1").exits(0);
    for target in &mut targets {
        assert_eq!(target.ask(), "1 2");
    }
    if !is_root() {
        return;
    }
    // Files that running processes map are watched, whatever their names.
    stage.run("active HP1").exits(0);
    let _service = stage.serve();
    for program in &programs {
        assert_eq!(Target::start(program).ask(), "11 22", "{program:?}");
    }
    until("it is in the log", || stage.run("log").out.contains("patched"));
    readable(&stage);
}

#[test]
fn of_patch_directories() {
    let stage = stage("directories", PAIR);
    let mut target = Target::start(&stage.program);
    for (i, name) in ODD.into_iter().enumerate() {
        let at = stage.dir.path().join(OsStr::from_bytes(name));
        stage.patch(&at, &format!("HP{i}"), 11, 22);
        let run = |verb: &str| -> Ran {
            let mut command = Command::new(common::stage::UPATCH);
            command.arg("--root").arg(stage.root()).arg(verb).arg(&at);
            command.output().unwrap().into()
        };
        run("check").exits(0);
        run("apply").exits(0);
        assert_eq!(target.ask(), "11 22", "{at:?}");
        let listed = stage.run("list --json").exits(0).out;
        serde_json::from_str::<serde_json::Value>(&listed).unwrap();
        run("remove").exits(0);
        assert_eq!(target.ask(), "1 2", "{at:?}");
    }
}
