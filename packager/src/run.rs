//! Running other programs: in a process group of their own, so that a signal can end a whole build, with output to a log
//! or captured.

use crate::error::{Context, Failure, Result};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Process groups of the programs that run now.
static GROUPS: Mutex<Vec<i32>> = Mutex::new(Vec::new());
/// The signal that asked us to stop, 0 for none.
static STOPPED: AtomicI32 = AtomicI32::new(0);
/// Directories that are to be gone when we end: what is half made.
static HALF_MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// What comes back from a signal by itself has as long as this.
const PATIENCE: Duration = Duration::from_millis(600);

/// From now on SIGINT, SIGTERM and SIGHUP end the running programs; what waits for them gets a [`Failure`], so that every
/// temporary file goes away on the usual path. A phase that does not come to its end soon, or a second signal, is not waited for: then
/// `last` is called with the failure, what is half made goes, and the process ends.
///
/// # Errors
/// When no handler can be set.
pub fn catch_signals(last: impl Fn(&Failure) + Send + Sync + 'static) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).what("signal handlers")?;
    let last = Arc::new(last);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let again = STOPPED.swap(signal, Ordering::SeqCst) != 0;
            end_programs(if again { Signal::SIGKILL } else { Signal::SIGTERM });
            if again {
                end_now(signal, last.as_ref());
            }
            let last = last.clone();
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                end_programs(Signal::SIGKILL);
                end_now(signal, last.as_ref());
            });
        }
    });
    Ok(())
}

/// Ends the programs that run now: their groups, and compilers that run in ours.
fn end_programs(signal: Signal) {
    for group in locked(&GROUPS).clone() {
        // The group may just have ended; then there is nothing to do.
        let _ = killpg(Pid::from_raw(group), signal);
    }
    for child in children() {
        let _ = kill(child, signal);
    }
}

/// Our own children (proc(5), `/proc/PID/task/TID/children`).
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let ids: Vec<String> =
        lists.flat_map(|l| l.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    ids.iter().filter_map(|id| id.parse().ok()).map(Pid::from_raw).collect()
}

/// Ends the process, unless it has come to its end by itself.
fn end_now(signal: i32, last: &impl Fn(&Failure)) {
    let _whole = undisturbed();
    if !is_first_to_end() {
        return;
    }
    last(&interrupted(signal));
    for dir in std::mem::take(&mut *locked(&HALF_MADE)) {
        remove_later(&dir);
    }
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}

/// While this is held no signal ends us: for what is done as a whole or not at all, in an instant.
pub fn undisturbed() -> MutexGuard<'static, ()> {
    static WHOLE: Mutex<()> = Mutex::new(());
    locked(&WHOLE)
}

/// Whoever asks first is the one to say how the run ended.
pub fn is_first_to_end() -> bool {
    static ENDED: AtomicBool = AtomicBool::new(false);
    !ENDED.swap(true, Ordering::SeqCst)
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a directory out of the way at once, and has it removed by a program that outlives us: a big tree takes its time.
fn remove_later(dir: &Path) -> bool {
    let mut away = dir.as_os_str().to_owned();
    away.push(format!(".gone-{}", std::process::id()));
    let away = PathBuf::from(away);
    if std::fs::rename(dir, &away).is_err() {
        return false;
    }
    let mut command = Command::new("/bin/rm");
    command.args(["-rf", "--"]).arg(away).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut removing) = command.spawn() {
        let until = Instant::now() + PATIENCE / 3;
        while Instant::now() < until && matches!(removing.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    true
}

/// Removes a directory that is half made if we end by a signal in the meantime. Dropped, it does nothing any more.
#[derive(Debug)]
pub struct HalfMade(PathBuf);

impl HalfMade {
    /// Takes note of it.
    pub fn new(dir: &Path) -> Self {
        locked(&HALF_MADE).push(dir.to_path_buf());
        Self(dir.to_path_buf())
    }

    /// After a signal it is removed by a program that outlives us, so that nobody waits for it. Whether that is so.
    pub fn is_left_to_others(&self) -> bool {
        STOPPED.load(Ordering::SeqCst) != 0 && remove_later(&self.0)
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        locked(&HALF_MADE).retain(|dir| *dir != self.0);
    }
}

/// Fails when a signal has asked to stop.
///
/// # Errors
/// After a signal.
pub fn check_stopped() -> Result<()> {
    match STOPPED.load(Ordering::SeqCst) {
        0 => Ok(()),
        signal => Err(interrupted(signal)),
    }
}

fn interrupted(signal: i32) -> Failure {
    let mut failure = Failure::failed("interrupted", format!("signal {signal}"));
    failure.signal = Some(signal);
    failure
}

/// Removes the group from the list when dropped.
struct Group(i32);

impl Group {
    fn enter(child: &Child) -> Self {
        let id = i32::try_from(child.id()).unwrap_or(0);
        locked(&GROUPS).push(id);
        Self(id)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if STOPPED.load(Ordering::SeqCst) != 0 {
            // What the program started may not have ended with it.
            let _ = killpg(Pid::from_raw(self.0), Signal::SIGKILL);
        }
        locked(&GROUPS).retain(|g| *g != self.0);
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
