//! The program in `testdata/soak`.

use super::Subject;
use crate::paths::testdata;
use crate::programs::patch_by_build;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// It runs, in one of its modes.
#[derive(Debug)]
pub(super) struct Soak {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    checked: u64,
    patch: PathBuf,
    _dir: TempDir,
}

impl Soak {
    /// Builds it, makes the patch, and starts it.
    ///
    /// # Errors
    /// One of these fails.
    pub(super) fn start(args: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let source = testdata("soak");
        let (program, patch) = patch_by_build(
            dir.path(),
            &source.join("src"),
            "make",
            "soak",
            &source.join("patches/work.patch"),
        )?;
        let mut child =
            Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("pipe")?;
        let output = BufReader::new(child.stdout.take().context("pipe")?);
        let mut soak = Self { child, input, output, checked: 0, patch, _dir: dir };
        ensure!(soak.line()? == "ready", "soak does not start");
        Ok(soak)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "soak has ended: {:?}", self.child.try_wait()?);
        Ok(line.trim_end().to_owned())
    }
}

impl Subject for Soak {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn patch(&self) -> &Path {
        &self.patch
    }

    fn patched(&mut self) -> Result<bool> {
        self.input.write_all(b"\n")?;
        let line = self.line()?;
        let mut words = line.splitn(4, ' ');
        let (value, checked, wrong) =
            (words.next(), words.next().context("checked")?, words.next().context("wrong")?);
        self.checked = checked.parse()?;
        ensure!(wrong == "0", "{wrong} wrong results, the first: {}", words.next().unwrap_or_default());
        match value {
            Some("22") => Ok(false),
            Some("24") => Ok(true),
            _ => anyhow::bail!("soak says {line}"),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.patched()?;
        Ok(self.checked)
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
