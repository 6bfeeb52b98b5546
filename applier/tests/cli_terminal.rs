//! What a terminal does to a command: interrupts, suspends, goes away. No process is left standing for it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    BUSY, PAIR, Target,
    stage::{Stage, stage, until},
};
use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// The state of a process, `T` if it is stopped.
fn state(child: &Child) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    stat.rsplit_once(") ").unwrap().1[..1].to_owned()
}

/// In a process group of its own, as a shell begins a job: in a group that nobody controls the kernel
/// suspends nobody for `SIGTSTP` (POSIX, "orphaned process group"), and that is what a test may be run in.
fn quietly(stage: &Stage, line: &str) -> Child {
    stage.command(line).process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Suspended at any moment, a command holds no process, and does what is left when it goes on.
#[test]
fn suspended_at_any_moment() {
    let stage = stage("suspended", PAIR);
    stage.install("HP1", 11, 22);
    let mut target = Target::start(&stage.program);
    for round in 0..40u64 {
        let (verb, new) = if round % 2 == 0 { ("apply HP1", "11 22") } else { ("remove HP1", "1 2") };
        let mut child = quietly(&stage, verb);
        thread::sleep(Duration::from_micros(round * 400));
        send(&child, "-TSTP");
        let begun = Instant::now();
        while state(&child) != "T" && child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "round {round}");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(target.tracer(), "0", "round {round}: it stands while the command does");
        let answer = target.ask();
        assert!(["1 2", "11 22"].contains(&answer.as_str()), "round {round}: {answer}");
        if child.try_wait().unwrap().is_none() {
            send(&child, "-CONT");
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(target.ask(), new, "round {round}");
    }
}

/// While it waits for a busy process, a command is suspended as any other program is.
#[test]
fn suspended_while_it_waits() {
    let stage = stage("waits", BUSY);
    stage.install("HP1", 11, 22);
    let mut target = Target::start(&stage.program);
    let mut child = quietly(&stage, "apply HP1 --timeout 60");
    thread::sleep(Duration::from_millis(200));
    send(&child, "-TSTP");
    until("it is suspended", || state(&child) == "T");
    assert_eq!(target.tracer(), "0");
    assert_eq!(target.ask(), "1 2");
    send(&child, "-CONT");
    thread::sleep(Duration::from_millis(50));
    send(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(target.ask(), "1 2");
}

/// Whichever way it is told to end, and with nobody left to say anything to.
#[test]
fn the_terminal_goes_away() {
    let stage = stage("hangup", BUSY);
    stage.install("HP1", 11, 22);
    let mut target = Target::start(&stage.program);
    for signal in ["-HUP", "-TERM", "-INT"] {
        let mut command = stage.command("apply HP1 --timeout 60");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{signal}");
        assert_eq!((target.ask().as_str(), target.tracer().as_str()), ("1 2", "0"), "{signal}");
        stage.run("list").exits(0).says("NOT-APPLIED");
    }
    // Where there are no file descriptors for them at all, what a command opens must not become one of them.
    let line = format!("exec {} --root \"$0\" apply HP1 --lazy <&- >&- 2>&-", common::stage::UPATCH);
    let status = Command::new("sh").args(["-c", &line]).arg(stage.root()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(target.ask(), "1 22");
    stage.run("status HP1").exits(0).says("1 patched");
}
