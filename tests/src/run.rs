//! Runs a command with a time limit, catching what it prints.

use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command being put together.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
    line: Vec<OsString>,
    limit: Duration,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The command line, for messages.
    pub line: String,
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// Standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Wall time.
    pub took: Duration,
}

impl Cmd {
    /// Starts with a program; the limit is ten minutes.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.stdin(Stdio::null()).process_group(0);
        Self { command, line: vec![program.as_ref().to_owned()], limit: Duration::from_secs(600) }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.line.push(arg.as_ref().to_owned());
        self.command.arg(arg);
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        for arg in args {
            self = self.arg(arg);
        }
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets the time limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it without waiting; its output goes to the given file.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn_to(mut self, output: &Path) -> Result<std::process::Child> {
        let file = std::fs::File::create(output).with_context(|| format!("{}", output.display()))?;
        self.command.stdout(file.try_clone()?).stderr(file);
        self.command.spawn().with_context(|| format!("cannot start {:?}", self.line))
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or the limit is over: then it is killed with all of its process group.
    pub fn run(mut self) -> Result<Ended> {
        let mut out = tempfile::tempfile()?;
        let mut err = tempfile::tempfile()?;
        self.command.stdout(out.try_clone()?).stderr(err.try_clone()?);
        let began = Instant::now();
        let line = self.line.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut child = self.command.spawn().with_context(|| format!("cannot start {line}"))?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if began.elapsed() > self.limit {
                let _ = Command::new("kill").arg("-KILL").arg("--").arg(format!("-{}", child.id())).status();
                let _ = child.wait();
                bail!(
                    "{line}: not done after {:?}; it printed\n{}{}",
                    self.limit,
                    text(&mut out)?,
                    text(&mut err)?
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(Ended { line, code, stdout: text(&mut out)?, stderr: text(&mut err)?, took: began.elapsed() })
    }
}

impl Ended {
    /// Itself, if the exit code is one of these.
    ///
    /// # Errors
    /// Another exit code; the message holds all that was printed.
    pub fn expect_code(self, codes: &[i32]) -> Result<Self> {
        if codes.contains(&self.code) {
            return Ok(self);
        }
        bail!("exit code {} instead of {codes:?}\n{}", self.code, self.account())
    }

    /// Itself, if the exit code is 0.
    ///
    /// # Errors
    /// Another exit code.
    pub fn ok(self) -> Result<Self> {
        self.expect_code(&[0])
    }

    /// Itself, if a text is in what it printed on standard error.
    ///
    /// # Errors
    /// The text is not there.
    pub fn says(self, text: &str) -> Result<Self> {
        if self.stderr.contains(text) {
            return Ok(self);
        }
        bail!("standard error does not hold {text:?}\n{}", self.account())
    }

    /// Itself, if standard error has a line `error: ...` and no sign of a panic.
    ///
    /// # Errors
    /// It has not.
    pub fn is_plain_error(self) -> Result<Self> {
        let told = self.stderr.lines().any(|line| line.starts_with("error: "));
        if told && !self.stderr.contains("panicked at") && !self.stderr.contains("RUST_BACKTRACE") {
            return Ok(self);
        }
        bail!("no line `error: what: why` on standard error\n{}", self.account())
    }

    /// Command line, exit code and output in one text, cut to what a person reads.
    pub fn account(&self) -> String {
        format!(
            "$ {}\nexit code {} after {:.1?}\n{}{}",
            self.line,
            self.code,
            self.took,
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

/// Sends a signal with kill(1).
///
/// # Errors
/// The process is gone, or the signal is not permitted.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    Cmd::new("kill").arg(format!("-{name}")).arg(pid.to_string()).run()?.ok()?;
    Ok(())
}

/// CPU seconds, user and system, of all children that this process has waited for.
///
/// # Errors
/// `/proc` cannot be read.
pub fn children_cpu_seconds() -> Result<f64> {
    // proc_pid_stat(5): fields 16 and 17, in clock ticks; USER_HZ is 100 on every Linux of today.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit_once(')').context("no command in /proc/self/stat")?.1;
    let ticks: u64 =
        rest.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn text(file: &mut std::fs::File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(60);
    lines[from..].iter().map(|line| format!("{line}\n")).collect()
}
