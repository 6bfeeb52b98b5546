//! Running other programs: in a process group of their own, so that a signal can end a whole build, with output to a log
//! or captured.

use crate::error::{Context, Failure, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Process groups of the programs that run now.
static GROUPS: Mutex<Vec<i32>> = Mutex::new(Vec::new());
/// The signal that asked us to stop, 0 for none.
static STOPPED: AtomicI32 = AtomicI32::new(0);

/// From now on SIGINT, SIGTERM and SIGHUP end the running programs; what waits for them gets a [`Failure`], so that every
/// temporary file goes away on the usual path.
///
/// # Errors
/// When no handler can be set.
pub fn catch_signals() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).what("signal handlers")?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let again = STOPPED.swap(signal, Ordering::SeqCst) != 0;
            let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for group in groups {
                let kind = if again { Signal::SIGKILL } else { Signal::SIGTERM };
                // The group may just have ended; then there is nothing to do.
                let _ = killpg(Pid::from_raw(group), kind);
            }
        }
    });
    Ok(())
}

/// Fails when a signal has asked to stop.
///
/// # Errors
/// After a signal.
pub fn check_stopped() -> Result<()> {
    match STOPPED.load(Ordering::SeqCst) {
        0 => Ok(()),
        signal => {
            let mut failure = Failure::failed("interrupted", format!("signal {signal}"));
            failure.signal = Some(signal);
            Err(failure)
        }
    }
}

/// Removes the group from the list when dropped.
struct Group(i32);

impl Group {
    fn enter(child: &Child) -> Self {
        let id = i32::try_from(child.id()).unwrap_or(0);
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        Self(id)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).retain(|g| *g != self.0);
    }
}

/// A program to run.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    name: String,
}

impl Tool {
    /// `program` with no arguments yet.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.stdin(Stdio::null()).process_group(0);
        let name = Path::new(program.as_ref())
            .file_name()
            .unwrap_or(program.as_ref())
            .to_string_lossy()
            .into_owned();
        Self { command, name }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets variables.
    #[must_use]
    pub fn envs(mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.command.envs(vars);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Reads standard input from a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn stdin(mut self, path: &Path) -> Result<Self> {
        let file = File::open(path).what(path.display().to_string())?;
        self.command.stdin(file);
        Ok(self)
    }

    fn start(&mut self) -> Result<(Child, Group)> {
        check_stopped()?;
        let child = self.command.spawn().map_err(|e| {
            let failure = Failure::failed(format!("cannot run {}", self.name), &e);
            if e.kind() == std::io::ErrorKind::NotFound {
                failure.hint(format!("install the program `{}`", self.name))
            } else {
                failure
            }
        })?;
        let group = Group::enter(&child);
        Ok((child, group))
    }

    /// Runs it to its end; gives status, standard output and standard error.
    ///
    /// # Errors
    /// When it cannot be started, or on a signal to us. Its own failure is in the status.
    pub fn output(mut self) -> Result<Output> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = self.name.clone();
        let (child, _group) = self.start()?;
        let out = child.wait_with_output().what(name)?;
        check_stopped()?;
        Ok(Output { status: out.status, stdout: out.stdout, stderr: out.stderr })
    }

    /// Runs it to its end with standard output in a file.
    ///
    /// # Errors
    /// As [`Tool::output`].
    pub fn into_file(mut self, file: File) -> Result<Output> {
        self.command.stdout(file).stderr(Stdio::piped());
        let name = self.name.clone();
        let (child, _group) = self.start()?;
        let out = child.wait_with_output().what(name)?;
        check_stopped()?;
        Ok(Output { status: out.status, stdout: Vec::new(), stderr: out.stderr })
    }

    /// Runs it to its end, and fails with what it said if it fails.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn check(self) -> Result<Vec<u8>> {
        let name = self.name.clone();
        let out = self.output()?;
        if out.status.success() {
            return Ok(out.stdout);
        }
        Err(Failure::failed(format!("{name} failed"), out.message()))
    }

    /// Runs it with both outputs in `log`, handing each line to `each`. The program writes to the file itself, not to a
    /// pipe: something that a build leaves running in the background then cannot hold us up.
    ///
    /// # Errors
    /// When it cannot be started, the log not be written, or on a signal to us.
    pub fn logged(mut self, log: &mut Log, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
        let unwritable = format!("cannot write {}", log.path.display());
        let first = log.file.try_clone().what(&unwritable)?;
        let second = log.file.try_clone().what(&unwritable)?;
        self.command.stdout(first).stderr(second);
        let name = self.name.clone();
        let (mut child, _group) = self.start()?;
        let mut reader = BufReader::new(File::open(&log.path).what(&unwritable)?);
        let mut line = Vec::new();
        let status = loop {
            let status = child.try_wait().what(&name)?;
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) && line.ends_with(b"\n") {
                each(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
            if let Some(status) = status {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(30));
        };
        check_stopped()?;
        Ok(status)
    }
}

/// A log file that is being written.
#[derive(Debug)]
pub struct Log {
    /// Where it is.
    pub path: PathBuf,
    file: File,
}

impl Log {
    /// Starts a new log.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).what(path.display().to_string())?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// The whole text so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

/// What a program said.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard error, or how the program ended if it said nothing.
    pub fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr).trim().to_owned();
        if text.is_empty() { self.status.to_string() } else { text }
    }
}
