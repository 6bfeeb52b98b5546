//! Several at once: commands beside commands, and beside a service that is at work.

mod common;

use common::{
    PAIR, Target,
    stage::{is_root, stage, until},
};
use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// One after the other, in whatever order: each does what it says, and in the end all agree.
#[test]
fn commands_for_one_patch_and_for_another() {
    let stage = stage("commands", PAIR);
    stage.install("HP1", 11, 12);
    stage.install("HP2", 21, 22);
    let mut targets: Vec<_> = (0..5).map(|_| Target::start(&stage.program)).collect();
    for round in 0..10 {
        let lines = [
            "apply HP1",
            "apply HP1",
            "apply HP2",
            "list",
            "status HP1",
            "deactive HP1",
            "rescan",
            "apply HP2",
        ];
        let children: Vec<_> = lines
            .iter()
            .map(|line| stage.command(line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
            .collect();
        for (line, child) in lines.iter().zip(children) {
            let ran = child.wait_with_output().unwrap();
            // Nothing to look at, or to take out, where it came first.
            let early = matches!(*line, "status HP1" | "deactive HP1") && round == 0;
            let code = ran.status.code();
            assert!(code == Some(0) || early, "{line}: {code:?}: {}", String::from_utf8_lossy(&ran.stderr));
        }
        stage.run("apply HP1").exits(0);
        stage.run("apply HP2").exits(0);
        let answers: Vec<_> = targets.iter_mut().map(Target::ask).collect();
        assert!(answers.iter().all(|a| *a == answers[0] && *a != "1 2"), "{answers:?}");
        stage.run("status HP1").says("5 patched, 0 pending, 0 refused");
        stage.run("remove HP1 HP2").exits(0);
        assert!(targets.iter_mut().all(|t| t.ask() == "1 2"));
    }
}

const ONCE: &str = r#"
#include <stdio.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
int counter = 100;
int main(void) { printf("%d %d\n", one(), two()); }
"#;

/// While programs start all the time, one that starts after a command has ended is as that command has said.
#[test]
fn commands_while_programs_start() {
    if !is_root() {
        return;
    }
    let stage = stage("starting", ONCE);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let _service = stage.serve();
    let done = AtomicBool::new(false);
    /// Also when this test fails.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        let end = Done(&done);
        let starters: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut said = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        said.push(stage.output());
                    }
                    said
                })
            })
            .collect();
        for round in 0..15 {
            stage.run("deactive HP1").exits(0);
            assert_eq!(stage.output(), "1 2\n", "round {round}");
            stage.run("active HP1").exits(0);
            // On a machine that is busy a start may be let through; that is the next one's luck.
            until("one starts as new", || stage.output() == "11 22\n");
        }
        drop(end);
        for starter in starters {
            let said = starter.join().unwrap();
            assert!(said.iter().all(|s| s == "1 2\n" || s == "11 22\n"), "{said:?}");
            assert!(said.len() > 15, "{}", said.len());
        }
    });
}

/// The service is replaced by its next build while programs start: none of them notices, and what started in
/// between is patched by the new one.
#[test]
fn the_service_is_upgraded() {
    if !is_root() {
        return;
    }
    let stage = stage("service_upgraded", PAIR);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let bin = stage.dir.path().join("upatch");
    let serve = || {
        // As a package manager does it: a new file takes the name.
        let next = stage.dir.path().join("next");
        std::fs::copy(common::stage::UPATCH, &next).unwrap();
        std::fs::rename(&next, &bin).unwrap();
        let mut command = Command::new(&bin);
        stage.serve_with(command.arg("--root").arg(stage.root()).args(["daemon", "--interval", "0.5"]))
    };
    let mut service = serve();
    for round in 0..5 {
        assert_eq!(Target::start(&stage.program).ask(), "11 22", "round {round}");
        Command::new("kill").args(["-TERM", &service.0.id().to_string()]).status().unwrap();
        assert!(service.0.wait().unwrap().success());
        let mut between = Target::start(&stage.program);
        assert_eq!(between.ask(), "1 2", "round {round}");
        service = serve();
        until("what was missed is patched", || between.ask() == "11 22");
    }
}
