//! A program of a package, started by a script, in a folder of its own.

use crate::run::{Cmd, Ended};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The program under way; stopped when dropped.
#[derive(Debug)]
pub struct Script {
    script: PathBuf,
    root: PathBuf,
    dir: TempDir,
}

impl Script {
    /// Starts it.
    ///
    /// # Errors
    /// The script fails.
    pub fn start(script: &Path, root: &Path) -> Result<Self> {
        let this = Self { script: script.to_path_buf(), root: root.to_path_buf(), dir: tempfile::tempdir()? };
        this.run("start")?.ok().with_context(|| format!("{}", script.display()))?;
        Ok(this)
    }

    /// Stops it and starts it again.
    ///
    /// # Errors
    /// The script fails.
    pub fn restart(&self) -> Result<()> {
        self.run("stop")?;
        self.run("start")?.ok().map(drop)
    }

    /// Makes it work; the exit code is the script's.
    ///
    /// # Errors
    /// The script cannot be run, or does not end.
    pub fn probe(&self) -> Result<Ended> {
        self.run("probe")
    }

    fn run(&self, verb: &str) -> Result<Ended> {
        Cmd::new(&self.script)
            .arg(&self.root)
            .arg(verb)
            .arg(self.dir.path())
            .limit(Duration::from_secs(300))
            .run()
    }

    /// Folder of the run.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process to patch.
    ///
    /// # Errors
    /// The script has named none.
    pub fn pid(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir().join("pid"))
            .context("the script names no process")?
            .trim()
            .to_owned())
    }

    /// The port it listens on, if it does.
    pub fn port(&self) -> Option<u16> {
        std::fs::read_to_string(self.dir().join("port")).ok()?.trim().parse().ok()
    }

    /// Fails if the process has ended.
    ///
    /// # Errors
    /// It has.
    pub fn lives(&self) -> Result<()> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?));
        // A program that has ended may still be there as a zombie.
        ensure!(!stat.context("the program has ended")?.contains(") Z "), "the program has ended");
        Ok(())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.run("stop");
    }
}
