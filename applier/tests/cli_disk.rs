//! Nowhere to write the state to: a command changes nothing then, in no process, and says why.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod common;

use common::{
    PAIR, Target,
    stage::{Ran, Stage, UPATCH, is_root, stage},
};
use patchfile::paths;
use std::{fs, process::Command};

/// Runs `upatch` in a mount namespace of its own, in which `prepare` has been done to the directory of the
/// state.
fn in_view(stage: &Stage, prepare: &str, line: &str) -> Ran {
    let script = format!("set -e; {prepare}\nexec {UPATCH} --root \"$1\" {line}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let command = command.arg(stage.root().join(paths::STATE)).arg(stage.root());
    command.output().unwrap().into()
}

/// A file system of one page of data, which is used; what was there is there.
const FULL: &str = r#"
cp -a "$0" "$0.copy"; mount -t tmpfs -o size=64k,nr_inodes=99 full "$0"; cp -a "$0.copy/." "$0"; rm -r "$0.copy"
dd if=/dev/zero of="$0/fill" bs=4k 2>/dev/null || true"#;
const READ_ONLY: &str = r#"mount --bind "$0" "$0"; mount -o remount,ro,bind "$0""#;

#[test]
fn a_full_disk_and_one_that_is_read_only() {
    if !is_root() {
        return;
    }
    let stage = stage("disk", PAIR);
    stage.install("HP1", 11, 22);
    stage.install("HP2", 111, 222);
    let mut target = Target::start(&stage.program);
    stage.run("apply HP1").exits(0);
    let path = stage.root().join(paths::STATE).join("state.yaml");
    let before = fs::read(&path).unwrap();
    for (prepare, why) in [(FULL, "No space left on device"), (READ_ONLY, "Read-only file system")] {
        for line in ["apply HP2", "deactive HP1", "remove HP1", "accept HP1"] {
            in_view(&stage, prepare, line).exits(1).warns(why);
            assert_eq!(target.ask(), "11 22", "{line}");
        }
        // What only reads works.
        in_view(&stage, prepare, "list").exits(0).says("HP1  ACTIVED      1 ");
        in_view(&stage, prepare, "status HP1").exits(0).says("1 patched");
        in_view(&stage, prepare, "check HP2").exits(0);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    stage.run("deactive HP1").exits(0);
    assert_eq!(target.ask(), "1 2");
}
