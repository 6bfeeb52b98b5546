//! A private view of the file system, in which rpm can install what it likes.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A mount namespace whose `/` is an overlay over the machine's own. Its processes are those of the machine.
pub struct View {
    dir: tempfile::TempDir,
    keeper: Child,
}

const SCRIPT: &str = r#"set -e
mount -t tmpfs -o size=256m upatch "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
mkdir -p "$1/root$2"
mount --rbind "$2" "$1/root$2"
cp "$3" "$1/root/usr/bin/upatch"
echo ready; exec sleep 100000"#;

impl View {
    /// `None` where mounting is not allowed, or there is no rpm.
    pub fn new(upatch: &Path) -> Option<Self> {
        if Command::new("rpm").arg("--version").output().is_err() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", SCRIPT, "view"])
            .arg(dir.path())
            .arg(std::env::temp_dir())
            .arg(upatch)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut ready = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let view = Self { dir, keeper };
        (ready == "ready\n").then_some(view)
    }

    /// A command that will run inside.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.keeper.id().to_string(), "chroot"]);
        command.arg(self.dir.path().join("root")).args(line.split_whitespace());
        command
    }

    /// A path inside, as seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        let dir = self.dir.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(dir).join("root").join(inside)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
