//! A patch and the life of a process: busy functions, sudden ends, new processes, several patches.

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::Duration;
use tests::daemon::{self, Daemon};
use tests::package::{Built, Layout};
use tests::programs::{Made, make_patch, upatch};
use tests::run::{Cmd, Ended};

const PROGRAM: &str = "usr/bin/hello-daemon";

/// A package, patches for it, and a state directory of its own.
struct Scene {
    built: Built,
    made: Vec<Made>,
    root: tempfile::TempDir,
}

impl Scene {
    fn new(patches: &[&str]) -> Result<Self> {
        let built = Layout::new("hello-daemon")?.build(&[])?;
        let mut made = Vec::new();
        for patch in patches {
            let one =
                make_patch(&built, &built.layout.patch(patch), &patch.replace('-', "_"), &["--no-rpm"])?;
            one.ended.clone().ok()?;
            made.push(one);
        }
        Ok(Self { built, made, root: tempfile::tempdir()? })
    }

    fn start(&self) -> Result<Daemon> {
        Daemon::start(&self.built.root, PROGRAM)
    }

    fn dir(&self, n: usize) -> Result<PathBuf> {
        Ok(self.made.get(n).context("no such patch")?.dir())
    }

    fn upatch(&self) -> Result<Cmd> {
        Ok(upatch()?.arg("--root").arg(self.root.path()))
    }

    fn run(&self, args: &[&str]) -> Result<Ended> {
        self.upatch()?.args(args).run()
    }

    fn apply(&self, n: usize, args: &[&str]) -> Result<Ended> {
        self.upatch()?.arg("apply").arg(self.dir(n)?).args(args).run()
    }
}

#[test]
fn a_busy_function_is_not_patched_under_its_caller() -> Result<()> {
    let scene = Scene::new(&["hold"])?;
    let _alone = daemon::alone();
    let mut daemon = scene.start()?;
    let mut busy = daemon.connect()?;
    busy.send("hold 40")?;
    std::thread::sleep(Duration::from_millis(300));
    let ended = scene.apply(0, &["--timeout", "1"])?.expect_code(&[3])?;
    let told = format!("{}{}", ended.stdout, ended.stderr);
    ensure!(told.contains(&daemon.pid().to_string()), "the process is not named\n{}", ended.account());
    daemon.is_well()?;
    daemon.connect()?.expect("hold 0", "held 0", "while it is pending")?;
    ensure!(busy.receive()? == "held 40", "the call that was under way");
    scene.apply(0, &[])?.ok()?;
    daemon.connect()?.expect("hold 0", "held 0 tenths", "when it is free")?;
    daemon.is_well()
}

#[test]
fn waiting_for_a_busy_function_within_the_timeout() -> Result<()> {
    let scene = Scene::new(&["hold"])?;
    let _alone = daemon::alone();
    let daemon = scene.start()?;
    let mut busy = daemon.connect()?;
    busy.send("hold 10")?;
    std::thread::sleep(Duration::from_millis(200));
    scene.apply(0, &["--timeout", "10"])?.ok()?;
    ensure!(busy.receive()? == "held 10", "the call that was under way ran the old code to its end");
    daemon.connect()?.expect("hold 0", "held 0 tenths", "afterwards")
}

#[test]
fn only_the_named_process() -> Result<()> {
    let scene = Scene::new(&["fix-exe"])?;
    let _alone = daemon::alone();
    let (one, two) = (scene.start()?, scene.start()?);
    scene.apply(0, &["--pid", &one.pid().to_string()])?.ok()?;
    one.connect()?.expect("area 3 4", "area 12", "named")?;
    two.connect()?.expect("area 3 4", "area 7", "not named")?;
    scene.apply(0, &[])?.ok()?;
    two.connect()?.expect("area 3 4", "area 12", "everywhere")
}

#[test]
fn applying_again_reaches_new_processes() -> Result<()> {
    let scene = Scene::new(&["fix-both"])?;
    let _alone = daemon::alone();
    scene.apply(0, &[])?.ok()?;
    let daemon = scene.start()?;
    scene.apply(0, &[])?.ok()?;
    daemon.connect()?.expect("area 3 4", "area 12", "new process")?;
    scene.apply(0, &[])?.ok()?;
    scene.run(&["deactive", "fix_both"])?.ok()?;
    scene.run(&["deactive", "fix_both"])?.ok()?;
    daemon.connect()?.expect("area 3 4", "area 7", "taken back")?;
    scene.run(&["active", "fix_both"])?.ok()?;
    daemon.connect()?.expect("area 3 4", "area 12", "active again")?;
    scene.run(&["remove", "fix_both"])?.ok()?;
    daemon.connect()?.expect("area 3 4", "area 7", "removed")
}

#[test]
fn states_and_reading_verbs() -> Result<()> {
    let scene = Scene::new(&["fix-exe"])?;
    let _alone = daemon::alone();
    let mut daemon = scene.start()?;
    let dir = scene.dir(0)?.to_string_lossy().into_owned();
    for args in [["check", &dir, "--json"], ["info", &dir, "--json"], ["target", &dir, "--json"]] {
        let ended = scene.run(&args)?.ok()?;
        serde_yaml::from_str::<serde_yaml::Value>(&ended.stdout).context(ended.account())?;
    }
    let info = scene.run(&["info", &dir])?.ok()?;
    ensure!(info.stdout.contains("CVE-2026-10001"), "{}", info.account());
    let target = scene.run(&["target", &dir])?.ok()?;
    ensure!(target.stdout.contains("/usr/bin/hello-daemon"), "{}", target.account());
    scene.run(&["apply", &dir, "--dry-run"])?.ok()?;
    daemon.connect()?.expect("area 3 4", "area 7", "dry run")?;
    for (verb, state) in
        [("apply", "ACTIVED"), ("deactive", "DEACTIVED"), ("active", "ACTIVED"), ("accept", "ACCEPTED")]
    {
        scene.run(&[verb, if verb == "apply" { &dir } else { "fix_exe" }])?.ok()?;
        let list = scene.run(&["list"])?.ok()?;
        let row = list.stdout.lines().find(|l| l.contains("fix_exe")).unwrap_or_default().to_owned();
        ensure!(row.split_whitespace().any(|w| w == state), "{verb}: {}", list.account());
        let json = scene.run(&["list", "--json"])?.ok()?;
        ensure!(json.stdout.contains(state), "{}", json.account());
    }
    let log = scene.run(&["log"])?.ok()?;
    ensure!(log.stdout.contains(&daemon.pid().to_string()), "{}", log.account());
    scene.run(&["save"])?.ok()?;
    scene.run(&["rescan"])?.ok()?;
    daemon.is_well()
}

#[test]
fn two_patches_in_any_order() -> Result<()> {
    let scene = Scene::new(&["fix-exe", "fix-archive"])?;
    let _alone = daemon::alone();
    let mut daemon = scene.start()?;
    let mut client = daemon.connect()?;
    scene.apply(0, &[])?.ok()?;
    scene.apply(1, &[])?.ok()?;
    client.expect("area 3 4", "area 12", "both")?;
    client.expect("sum ab", "sum 9832", "both")?;
    scene.run(&["remove", "fix_exe"])?.ok()?;
    client.expect("area 3 4", "area 7", "first removed")?;
    client.expect("sum ab", "sum 9832", "first removed")?;
    scene.run(&["remove", "fix_archive"])?.ok()?;
    client.expect("sum ab", "sum 202", "both removed")?;
    daemon.is_well()
}

#[test]
fn on_and_off_many_times() -> Result<()> {
    let scene = Scene::new(&["busy-thread"])?;
    let _alone = daemon::alone();
    let mut daemon = scene.start()?;
    let mut client = daemon.connect()?;
    scene.apply(0, &[])?.ok()?;
    for _ in 0..20 {
        scene.run(&["deactive", "busy_thread"])?.ok()?;
        client.expect("ticks", "ticks run", "off")?;
        scene.run(&["active", "busy_thread"])?.ok()?;
        client.expect("ticks", "ticks run fast", "on")?;
        daemon.is_well()?;
    }
    Ok(())
}

#[test]
fn a_killed_applier_leaves_old_or_new() -> Result<()> {
    let scene = Scene::new(&["fix-both"])?;
    let _alone = daemon::alone();
    let (mut old, mut new) = (0, 0);
    for micros in (0..30_000).step_by(500) {
        let mut daemon = scene.start()?;
        let mut client = daemon.connect()?;
        let log = scene.root.path().join("apply.log");
        let mut child = scene.upatch()?.arg("apply").arg(scene.dir(0)?).spawn_to(&log)?;
        std::thread::sleep(Duration::from_micros(micros));
        let _ = child.kill();
        let _ = child.wait();
        // The kernel lets go of the threads when the tracer is gone.
        std::thread::sleep(Duration::from_millis(20));
        daemon.is_well().with_context(|| format!("killed after {micros} us"))?;
        let area = client.ask("area 3 4")?;
        let greeting = client.ask("greet Ada")?;
        let is_new = area == "area 12";
        ensure!(is_new || area == "area 7", "{area}");
        ensure!(
            greeting.contains("Countess") == is_new,
            "killed after {micros} us, the process is half new: {area}, {greeting}"
        );
        if is_new {
            new += 1
        } else {
            old += 1
        }
        // The next command brings it to the wanted state, whatever was left behind.
        scene.apply(0, &[])?.ok()?;
        client.expect("area 3 4", "area 12", "applied again")?;
        scene.run(&["remove", "fix_both"])?.ok()?;
        client.expect("area 3 4", "area 7", "removed")?;
    }
    ensure!(old > 0, "no try was early enough");
    ensure!(new > 0, "no try was late enough");
    Ok(())
}

#[test]
fn a_target_that_dies_meanwhile() -> Result<()> {
    let scene = Scene::new(&["fix-exe"])?;
    let _alone = daemon::alone();
    for micros in (0..20_000).step_by(1000) {
        let daemon = scene.start()?;
        let pid = daemon.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(micros));
            drop(daemon);
        });
        let ended = scene.apply(0, &[])?;
        ensure!(killer.join().is_ok(), "the killer of {pid} failed");
        ended.expect_code(&[0])?;
    }
    // What the dead left behind is in nobody's way.
    let mut daemon = scene.start()?;
    scene.apply(0, &[])?.ok()?;
    daemon.connect()?.expect("area 3 4", "area 12", "after the dead")?;
    daemon.is_well()
}

#[test]
fn the_shipped_library_is_patched_in_every_process() -> Result<()> {
    let scene = Scene::new(&["fix-library"])?;
    let _alone = daemon::alone();
    let daemons = (0..5).map(|_| scene.start()).collect::<Result<Vec<_>>>()?;
    scene.apply(0, &[])?.ok()?;
    for daemon in &daemons {
        daemon.connect()?.expect("greet Bob", "Good day, Bob. 1/1", "library")?;
    }
    let status = scene.run(&["status", "fix_library"])?.ok()?;
    for daemon in &daemons {
        ensure!(status.stdout.contains(&daemon.pid().to_string()), "{}", status.account());
    }
    Ok(())
}
