//! A private view of the whole file system: what is installed there does not reach the host.

use crate::paths;
use crate::run::{Cmd, Ended};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// An overlay over `/`, mounted in a mount namespace of its own, with the programs of upatch installed in it.
/// Processes of the host are seen in it, as `rpm -i` on a real machine sees them.
#[derive(Debug)]
pub struct Overlay {
    dir: TempDir,
    keeper: Child,
}

impl Overlay {
    /// Mounts one. Needs root.
    ///
    /// # Errors
    /// No right to mount, or a program of upatch is missing.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("upatch-overlay-").tempdir()?;
        // An upper layer cannot lie on an overlay, which the temporary folder may be: a tmpfs of its own.
        let script = r#"set -e
            mount -t tmpfs -o size=512m upatch "$1"
            mkdir "$1/upper" "$1/work" "$1/root"
            mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
            mount --rbind /proc "$1/root/proc"
            mount --rbind /dev "$1/root/dev"
            mount -t tmpfs tmpfs "$1/root/run"
            mkdir -p "$1/root$2"
            mount --rbind "$2" "$1/root$2"
            echo ready; exec sleep 100000"#;
        let tmp = std::env::temp_dir();
        let mut keeper = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script, "overlay"])
            .arg(dir.path())
            .arg(&tmp)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let mut ready = String::new();
        let out = keeper.stdout.take().context("no pipe")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut ready)?;
        let overlay = Self { dir, keeper };
        anyhow::ensure!(
            ready == "ready\n",
            "cannot mount an overlay: these tests need root and the right to mount"
        );
        for (name, place) in
            [("upatch", "usr/bin"), ("upatch-build", "usr/bin"), ("upatch-cc", "usr/libexec/upatch")]
        {
            let to = overlay.path(place);
            fs::create_dir_all(&to)?;
            fs::copy(paths::program(name)?, to.join(name))?;
        }
        Ok(overlay)
    }

    /// A path of the view, as seen from the host.
    pub fn path(&self, inside: &str) -> PathBuf {
        let root = format!("proc/{}/root", self.keeper.id());
        Path::new("/")
            .join(root)
            .join(self.dir.path().strip_prefix("/").unwrap_or(self.dir.path()))
            .join("root")
            .join(inside)
    }

    /// Runs a command inside.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub fn run(&self, args: &[&str]) -> Result<Ended> {
        self.command(args).run()
    }

    /// A command that will run inside.
    pub fn command(&self, args: &[&str]) -> Cmd {
        let pid = self.keeper.id().to_string();
        Cmd::new("nsenter").args(["-m", "-t", &pid, "chroot"]).arg(self.dir.path().join("root")).args(args)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
