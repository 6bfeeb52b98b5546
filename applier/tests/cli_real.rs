//! The command on real processes.

mod common;

use common::{
    BUSY, PAIR, Target, compile,
    stage::{Daemon, Ran, UPATCH, is_root, stage, until},
};
use patchfile::paths;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixDatagram,
        process::CommandExt,
    },
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_life() {
    let stage = stage("a_life", PAIR);
    let out = stage.dir.path().join("out/LIFE1");
    stage.patch(&out, "LIFE1", 11, 22);
    let mut targets = [Target::start(&stage.program), Target::start(&stage.program)];
    stage.run(&format!("check {}", out.display())).exits(0).says("ready").says("fits");
    stage
        .run(&format!("apply {}", out.display()))
        .exits(0)
        .says("pair-1-1/LIFE1: ACTIVED: 2 processes patched");
    assert_eq!(targets.each_mut().map(Target::ask), ["11 22", "11 22"]);
    stage.run("list").exits(0).says("pair-1-1/LIFE1  ACTIVED  2        0        0        CVE-2025-1");
    stage.run("apply LIFE1").exits(0).says("2 processes");
    stage.run("deactive LIFE1").exits(0).says("2 processes back");
    assert_eq!(targets.each_mut().map(Target::ask), ["1 2", "1 2"]);
    stage.run("active pair/LIFE1").exits(0);
    assert_eq!(targets[0].ask(), "11 22");
    // What `list` says is what /proc shows: with the state gone, too.
    fs::remove_file(stage.root().join("var/lib/upatch/state.yaml")).unwrap();
    stage.run("list").exits(0).says("ACTIVED  2 ");
    stage.run("remove LIFE1").exits(0);
    assert_eq!(targets.each_mut().map(Target::ask), ["1 2", "1 2"]);
    // Of its own name: a process of another test would be found by the same one.
    stage.run("status LIFE1").exits(4);
    stage.run("log").exits(0).says("old code back");
}

#[test]
fn stacked_and_taken_out_in_any_order() {
    let stage = stage("stacked", PAIR);
    stage.install("HP1", 11, 12);
    stage.install("HP2", 21, 22);
    let mut target = Target::start(&stage.program);
    stage.run("apply HP1").exits(0);
    stage.run("apply HP2").exits(0).warns("HP1 is active and replaces one, two");
    assert_eq!(target.ask(), "21 22");
    stage.run("remove HP1").exits(0);
    assert_eq!(target.ask(), "21 22");
    stage.run("remove HP2").exits(0);
    assert_eq!(target.ask(), "1 2");
}

#[test]
fn another_build_does_not_fit() {
    let stage = stage("another_build", PAIR);
    stage.install("HP1", 11, 22);
    let other = compile(
        &{
            let d = stage.dir.path().join("other");
            fs::create_dir(&d).unwrap();
            d
        },
        "another_build",
        &format!("{PAIR}\nint other = 7;\n"),
        &[],
    );
    let mut target = Target::start(&other);
    let pid = target.pid();
    stage
        .run(&format!("apply HP1 --pid {pid}"))
        .exits(5)
        .warns("maps no ELF file of the build that the patch is for");
    stage.run("apply HP1").exits(5).warns(&format!("process {pid} runs another build"));
    stage.run("check HP1").exits(5);
    assert_eq!(target.ask(), "1 2");
    stage.run("list").says("NOT-APPLIED");
}

#[test]
fn a_busy_process_is_pending_and_an_interrupt_is_obeyed() {
    let stage = stage("busy", BUSY);
    stage.install("HP1", 11, 22);
    let mut target = Target::start(&stage.program);
    let named = format!("process {} (busy) is pending", target.pid());
    stage.run("apply HP1 --timeout 0.1").exits(3).warns(&named).warns("one");
    stage.run("status HP1").exits(0).says("0 patched, 1 pending").says("pending: thread");
    stage.run("check HP1").exits(3);
    stage.run("remove HP1").exits(0);

    let begun = Instant::now();
    let child = stage
        .command("apply HP1 --timeout 60")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    ran.exits(1).warns("interrupted; nothing was changed");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(target.ask(), "1 2");
    assert_eq!(target.tracer(), "0");
    // It has just answered and may not be back in its read.
    until("it waits as before", || target.state() == "S");
    stage.run("apply HP1 --lazy").exits(0).warns("still in one");
    assert_eq!(target.ask(), "1 22");
    target.send();
    assert_eq!(target.read_line(), "11 22");
}

#[test]
fn killed_at_any_moment_the_truth_is_told_and_the_next_one_goes_on() {
    let stage = stage("killed", PAIR);
    stage.install("HP1", 11, 22);
    let mut target = Target::start(&stage.program);
    for round in 0..40u64 {
        let verb = if round % 2 == 0 { "apply HP1" } else { "remove HP1" };
        let mut child = stage.command(verb).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_micros(round * 400));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let answer = target.ask();
        let new = answer == "11 22";
        assert!(new || answer == "1 2", "{answer} after {status}");
        let status = stage.run("status HP1").exits(0);
        assert_eq!(status.out.contains("1 patched"), new, "{status:?}");
    }
    stage.run("apply HP1").exits(0);
    assert_eq!(target.ask(), "11 22");
    stage.run("remove HP1").exits(0);
    assert_eq!(target.ask(), "1 2");
}

#[test]
fn without_root_ones_own_processes() {
    if !is_root() {
        // Then every other test of this file is this one.
        return;
    }
    let stage = stage("own", PAIR);
    stage.install("HP1", 11, 22);
    let nobody = 65534;
    let bin = stage.dir.path().join("upatch");
    fs::copy(UPATCH, &bin).unwrap();
    fs::set_permissions(stage.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |line: &str| -> Ran {
        let mut command = Command::new(&bin);
        command.arg("--root").arg(stage.root()).args(line.split_whitespace()).uid(nobody).gid(nobody);
        command.output().unwrap().into()
    };
    let mut own = Target::start_with(Command::new(&stage.program).uid(nobody).gid(nobody));
    let mut other = Target::start(&stage.program);
    as_nobody("apply HP1").exits(7).warns("--pid");
    as_nobody(&format!("apply HP1 --pid {}", other.pid())).exits(7);
    as_nobody(&format!("apply HP1 --pid {}", own.pid())).exits(0);
    assert_eq!((own.ask().as_str(), other.ask().as_str()), ("11 22", "1 2"));
    // Root's list sees it, though nobody could write that down.
    stage.run("list").exits(0).says("ACTIVED  1        0        0");
    as_nobody("list").exits(0).says("ACTIVED  1").warns("may not be looked into");
    as_nobody(&format!("deactive HP1 --pid {}", own.pid())).exits(0);
    assert_eq!(own.ask(), "1 2");
    // What may not be looked into may run anything.
    stage.run(&format!("apply HP1 --pid {}", other.pid())).exits(0);
    for verb in ["deactive", "remove"] {
        let ran =
            as_nobody(&format!("{verb} HP1 --pid {}", other.pid())).exits(7).warns("not permitted to look");
        assert!(!ran.out.contains("no process runs"), "{ran:?}");
    }
    stage.run("remove HP1").exits(0).says("1 process back");
    // Code that somebody else could have written is not run as root.
    let dir = stage.root().join(paths::PATCHES).join("pair-1-1/HP1");
    chown(dir.join("pair.upatch"), Some(nobody), Some(nobody)).unwrap();
    stage.run("apply HP1").exits(7).warns("it belongs to user 65534");
    assert_eq!(other.ask(), "1 2");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let stage = stage("pipe", PAIR);
    stage.install("HP1", 11, 22);
    let mut child = stage.command("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = Ran::from(stage.command("list").stdout(full).output().unwrap());
    ran.exits(1).warns("error: standard output");
}

#[test]
fn the_service_patches_what_starts_later_and_ends_cleanly() {
    let stage = stage("service", PAIR);
    stage.install("HP1", 11, 22);
    stage.run("apply HP1").exits(0);
    let socket = stage.dir.path().join("notify");
    let listener = UnixDatagram::bind(&socket).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = stage.command("daemon --interval 0.1");
    let child =
        command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut daemon = Daemon(child);
    let mut message = [0; 64];
    let n = listener.recv(&mut message).unwrap();
    assert_eq!(&message[..n], b"READY=1");

    let mut target = Target::start(&stage.program);
    until("a new process is patched", || target.ask() == "11 22");
    stage.run("deactive HP1").exits(0);
    assert_eq!(target.ask(), "1 2");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(target.ask(), "1 2", "the service put back what was taken out");
    stage.run("active HP1").exits(0);

    Command::new("kill").args(["-TERM", &daemon.0.id().to_string()]).status().unwrap();
    let status = daemon.0.wait().unwrap();
    let mut err = String::new();
    daemon.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
    let out = BufReader::new(daemon.0.stdout.take().unwrap());
    let said: Vec<_> = out.lines().map(Result::unwrap).collect();
    assert!(said.iter().any(|l| l.contains("patched")), "{said:?}");
    assert_eq!(target.ask(), "11 22");
}

/// A measurement, not a test:
/// `UPATCH_BIN=target/release cargo test -- --ignored --nocapture what_a_command_costs`.
#[test]
#[ignore = "measures"]
fn what_a_command_costs() {
    let stage = stage("costs", PAIR);
    stage.install("HP1", 11, 22);
    let _target = Target::start(&stage.program);
    let program = std::env::var_os("UPATCH_BIN").map(|d| std::path::Path::new(&d).join("upatch"));
    let program = program.unwrap_or_else(|| common::stage::UPATCH.into());
    let times = |verb: &str| {
        let mut times: Vec<_> = (0..100)
            .map(|_| {
                let mut command = std::process::Command::new(&program);
                command
                    .arg("--root")
                    .arg(stage.root())
                    .args([verb, "HP1"])
                    .stdout(std::process::Stdio::null());
                let begun = std::time::Instant::now();
                assert!(command.status().unwrap().success());
                let time = begun.elapsed();
                let other = if verb == "deactive" { "active" } else { "deactive" };
                assert!(stage.run(&format!("{other} HP1")).code == Some(0));
                time
            })
            .collect();
        times.sort();
        (times[0], times[times.len() / 2])
    };
    eprintln!("apply: least and median {:?}", times("apply"));
    stage.run("apply HP1").exits(0);
    eprintln!("deactive: least and median {:?}", times("deactive"));
}
