//! Starts the daemons of `testdata/` and talks to them.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

use crate::lock::Lock;
use crate::programs::upatch;

static LIVE: Mutex<()> = Mutex::new(());

/// To be held while daemons run: a patch reaches every process of the same ELF file, those of other tests
/// too.
#[derive(Debug)]
pub struct Alone {
    _threads: MutexGuard<'static, ()>,
    _processes: Option<Lock>,
}

/// Waits until no other test, of this test program or another, runs daemons.
pub fn alone() -> Alone {
    let threads = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    let processes = Lock::on(&std::env::temp_dir().join("upatch-tests.lock"));
    Alone { _threads: threads, _processes: processes }
}

/// A running daemon, killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    dir: TempDir,
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Daemon {
    /// Starts `program` of the unpacked package in `root` and waits until it listens.
    ///
    /// # Errors
    /// It does not start or does not listen within a minute.
    pub fn start(root: &Path, program: &str) -> Result<Self> {
        Self::start_program(&root.join(program), &[root.join("usr/lib64")])
    }

    /// Starts a program that finds its libraries in these folders, and waits until it listens.
    ///
    /// # Errors
    /// It does not start or does not listen within a minute.
    pub fn start_program(program: &Path, libraries: &[PathBuf]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("upatch-daemon-").tempdir()?;
        let out = fs::File::create(dir.path().join("stdout"))?;
        let child = Command::new(program)
            .arg(dir.path().join("socket"))
            .env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?)
            .stdin(Stdio::null())
            .stdout(out)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let daemon = Self { child, dir };
        let began = Instant::now();
        while daemon.connect().is_err() {
            ensure!(began.elapsed() < Duration::from_secs(60), "{} does not listen", program.display());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// The daemon does not listen.
    pub fn connect(&self) -> Result<Client> {
        let stream = UnixStream::connect(self.dir.path().join("socket"))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// What it has written to standard output.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stdout(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.path().join("stdout"))?)
    }

    /// Checks that it lives, that nobody traces it and that no thread of it is stopped.
    ///
    /// # Errors
    /// It has ended, is traced, or has a stopped thread.
    pub fn is_well(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon has ended: {status}");
        }
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let path = task?.path().join("status");
            // A thread may end between the two reads.
            let Ok(status) = fs::read_to_string(&path) else { continue };
            let field = |name: &str| {
                status
                    .lines()
                    .find_map(|l| l.strip_prefix(name))
                    .map(str::trim)
                    .unwrap_or_default()
                    .to_owned()
            };
            let state = field("State:");
            ensure!(!state.starts_with(['t', 'T']), "{}: {state}", path.display());
            ensure!(field("TracerPid:") == "0", "{} is traced", path.display());
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client {
    /// Sends a line.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("send {line:?}"))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// The connection is broken, or nothing comes for 20 seconds.
    pub fn receive(&mut self) -> Result<String> {
        let mut answer = String::new();
        let read = self.stream.read_line(&mut answer).context("no answer")?;
        ensure!(read > 0, "the daemon closed the connection");
        Ok(answer.trim_end().to_owned())
    }

    /// Sends a line and reads the answer.
    ///
    /// # Errors
    /// Those of [`Client::send`] and [`Client::receive`].
    pub fn ask(&mut self, line: &str) -> Result<String> {
        self.send(line)?;
        self.receive().with_context(|| format!("after {line:?}"))
    }

    /// Sends a line and checks the answer.
    ///
    /// # Errors
    /// Another answer; `when` says in which phase.
    pub fn expect(&mut self, line: &str, answer: &str, when: &str) -> Result<()> {
        let got = self.ask(line).with_context(|| when.to_owned())?;
        ensure!(got == answer, "{when}: {line:?} is answered by {got:?} instead of {answer:?}");
        Ok(())
    }
}

/// Applies a patch directory that holds `fix-exe` to a fresh daemon of `root`, and asks it for an area before
/// and after.
///
/// # Errors
/// An answer is not the right one, or anything else fails.
pub fn multiplies(root: &Path, program: &str, patch: &Path) -> Result<()> {
    let _alone = alone();
    let state = tempfile::tempdir()?;
    let mut daemon = Daemon::start(root, program)?;
    let mut client = daemon.connect()?;
    client.expect("area 3 4", "area 7", "before")?;
    upatch()?.arg("--root").arg(state.path()).arg("apply").arg(patch).run()?.ok()?;
    client.expect("area 3 4", "area 12", "patched")?;
    daemon.is_well()
}
