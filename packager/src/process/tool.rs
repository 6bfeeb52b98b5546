//! Running a program to its end, with its output to a log or captured.
//!
//! duct starts it, captures what it says and waits for it. What duct has no word for is done around it: each
//! program leads a process group of its own, so that a signal can end a whole build with all that it has
//! started (duct's `kill` ends the program alone), and a log is read while it is written.

use super::Log;
use super::running::Group;
use super::stopped::check_stopped;
use crate::error::{Context, ProcessError, Result};
use duct::{Expression, Handle};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A log is looked at as often as this.
const LOOK: Duration = Duration::from_millis(30);

/// A program to run.
#[derive(Debug)]
pub(crate) struct Tool {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Option<File>,
}

impl Tool {
    /// `program` with no arguments yet.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self { program, args: Vec::new(), env: Vec::new(), dir: None, stdin: None }
    }

    /// Adds one argument.
    #[must_use]
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_path_buf());
        self
    }

    /// Sets variables.
    #[must_use]
    pub(crate) fn envs(mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.env.extend(vars);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Reads standard input from a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn stdin(mut self, path: &Path) -> Result<Self> {
        self.stdin = Some(File::open(path).at(path)?);
        Ok(self)
    }

    /// Its file's name, for messages.
    fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    fn start(self, outputs: impl FnOnce(Expression) -> Expression) -> Result<(Handle, Vec<Group>)> {
        check_stopped()?;
        let name = self.name();
        tracing::debug!(program = ?self.program, args = ?self.args, dir = ?self.dir, "run");
        let mut expression = duct::cmd(self.program, self.args).unchecked();
        expression = expression.before_spawn(|command| {
            command.process_group(0);
            Ok(())
        });
        for (variable, value) in self.env {
            expression = expression.env(variable, value);
        }
        if let Some(dir) = self.dir {
            expression = expression.dir(dir);
        }
        expression = match self.stdin {
            Some(file) => expression.stdin_file(file),
            None => expression.stdin_null(),
        };
        let handle = outputs(expression).start().map_err(|source| ProcessError::Start { name, source })?;
        let groups = Group::enter(&handle.pids());
        Ok((handle, groups))
    }

    fn wait(self, outputs: impl FnOnce(Expression) -> Expression) -> Result<Output> {
        let name = self.name();
        let (handle, _groups) = self.start(outputs)?;
        let out = handle.into_output().what(name)?;
        check_stopped()?;
        Ok(Output { status: out.status, stdout: out.stdout, stderr: out.stderr })
    }

    /// Runs it to its end; gives status, standard output and standard error.
    ///
    /// # Errors
    /// When it cannot be started, or on a signal to us. Its own failure is in the status.
    pub(crate) fn output(self) -> Result<Output> {
        self.wait(|program| program.stdout_capture().stderr_capture())
    }

    /// Runs it to its end with standard output in a file.
    ///
    /// # Errors
    /// As [`Tool::output`].
    pub(crate) fn into_file(self, file: File) -> Result<Output> {
        self.wait(|program| program.stdout_file(file).stderr_capture())
    }

    /// Runs the program to its end. Its output is part of the error if it fails.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub(crate) fn check(self) -> Result<Vec<u8>> {
        let name = self.name();
        let out = self.output()?;
        if out.status.success() {
            return Ok(out.stdout);
        }
        Err(ProcessError::Failed { name, said: out.message() }.into())
    }

    /// Runs it with both outputs in `log`, handing each line to `each`. The program writes to the file
    /// itself, not to a pipe: something that a build leaves running in the background then cannot hold us up.
    ///
    /// # Errors
    /// When it cannot be started, the log not be written, or on a signal to us.
    pub(crate) fn logged(self, log: &mut Log, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
        let first = log.file.try_clone().writing(&log.path)?;
        let second = log.file.try_clone().writing(&log.path)?;
        let name = self.name();
        let (handle, _groups) = self.start(|program| program.stdout_file(first).stderr_file(second))?;
        let mut reader = BufReader::new(File::open(&log.path).writing(&log.path)?);
        let mut line = Vec::new();
        let status = loop {
            let status = handle.try_wait().what(&name)?.map(|out| out.status);
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && line.ends_with(b"\n") {
                each(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
            if let Some(status) = status {
                break status;
            }
            std::thread::sleep(LOOK);
        };
        check_stopped()?;
        Ok(status)
    }
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard error, or how the program ended if it said nothing.
    pub(crate) fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr).trim().to_owned();
        if text.is_empty() { self.status.to_string() } else { text }
    }
}
