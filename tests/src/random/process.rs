//! A program under the driver: started, told to run, read.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const END: &[u8] = b"\n--\n";

/// A running program.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Running {
    /// Starts it; a run that takes more CPU time than `limit` (milliseconds) ends the process.
    pub(crate) fn start(program: &Path, limit: u32) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(limit.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take().context("pipe")?;
        let output = child.stdout.take().context("pipe")?;
        Ok(Self { child, input, output })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// One run: `f` with fresh variables, `r` as the last one left them. Gives what was printed.
    pub(crate) fn ask(&mut self, order: u8) -> Result<String> {
        self.input.write_all(&[order])?;
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while !text.ends_with(END) {
            let count = self.output.read(&mut buffer)?;
            if count == 0 {
                bail!("ended: {}", self.child.wait()?);
            }
            text.extend_from_slice(&buffer[..count]);
        }
        text.truncate(text.len() - END.len());
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A fresh run and one on top of it.
    pub(crate) fn both(&mut self) -> Result<[String; 2]> {
        Ok([self.ask(b'f')?, self.ask(b'r')?])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
