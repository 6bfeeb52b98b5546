//! Containers: the same build in other mount and process namespaces, as another file, under another path; and
//! frozen.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    PAIR, Target,
    stage::{UPATCH, is_root, stage, until},
    view::View,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the program is in each of them.
const INNER: &str = "opt/service/bin/inner";

#[test]
fn of_the_same_build_in_overlays() {
    if !is_root() {
        return;
    }
    let stage = stage("container", PAIR);
    stage.install("HP1", 11, 22);
    let views: Vec<_> = (0..2).filter_map(|_| View::new(Path::new(UPATCH))).collect();
    let [_, _] = &views[..] else { return };
    for view in &views {
        let inner = view.path(INNER);
        fs::create_dir_all(inner.parent().unwrap()).unwrap();
        fs::copy(&stage.program, inner).unwrap();
    }
    let start = |view: &View| {
        let mut command = view.command(&format!("/usr/bin/unshare --pid --fork --kill-child /{INNER}"));
        Target::start_with(&mut command)
    };
    let mut before = start(&views[0]);
    stage.run("apply HP1").exits(0).says("1 process patched");
    assert_eq!(before.ask(), "11 22");
    let _service = stage.serve_with(&mut stage.command("daemon --interval 0.3"));
    // Its file is watched since a process runs it.
    for _ in 0..5 {
        assert_eq!(start(&views[0]).ask(), "11 22");
    }
    // A container that nobody has seen: found by its first process, and then watched.
    let mut first = start(&views[1]);
    until("the first process of a container is found", || first.ask() == "11 22");
    for _ in 0..5 {
        assert_eq!(start(&views[1]).ask(), "11 22");
    }
    stage.run("status HP1").exits(0).says("2 patched, 0 pending, 0 refused");
    stage.run("deactive HP1").exits(0);
    assert_eq!((before.ask(), first.ask()), ("1 2".into(), "1 2".into()));
    assert_eq!(start(&views[1]).ask(), "1 2");
}

/// A control group of its own. `None` where there is no such thing.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let at =
            mounts.lines().find_map(|l| l.split_once(" cgroup2 ").map(|_| l.split(' ').nth(1).unwrap()))?;
        let path = Path::new(at).join(format!("upatch-test-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    fn set(&self, what: &str, to: &str) {
        fs::write(self.0.join(what), to).unwrap();
    }

    fn frozen(&self) -> bool {
        fs::read_to_string(self.0.join("cgroup.events")).unwrap().contains("frozen 1")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
        // Empty once the process that was in it is gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// A process in a paused container is pending, and stays paused.
#[test]
fn that_are_paused() {
    let Some(group) = Group::new().filter(|_| is_root()) else { return };
    let stage = stage("paused", PAIR);
    stage.install("HP1", 11, 22);
    let mut target = Target::start(&stage.program);
    group.set("cgroup.procs", &target.pid().to_string());
    group.set("cgroup.freeze", "1");
    until("it is frozen", || group.frozen());
    let begun = std::time::Instant::now();
    stage.run("apply HP1 --timeout 0").exits(3).warns("frozen");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "it is told at once");
    stage.run("status HP1").exits(0).says("0 patched, 1 pending").says("frozen");
    until("it is frozen as before", || group.frozen());
    assert_eq!(target.tracer(), "0");
    target.send();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(group.frozen());
    group.set("cgroup.freeze", "0");
    assert_eq!(target.read_line(), "1 2");
    stage.run("apply HP1").exits(0);
    assert_eq!(target.ask(), "11 22");
}
