//! A patch goes into a program at work and out again, thousands of times; nothing may come of it but the
//! other code.

mod http;
mod nginx;
mod program;
mod redis;

use crate::programs::{self, Service};
use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a patch is put into.
pub trait Subject {
    /// The process whose memory is watched.
    fn pid(&self) -> u32;
    /// The patch directory.
    fn patch(&self) -> &Path;
    /// Does the program say that it runs the new code?
    ///
    /// # Errors
    /// It does not answer, or says that something was wrong.
    fn patched(&mut self) -> Result<bool>;
    /// Stops it, and returns the number of results that were checked.
    ///
    /// # Errors
    /// One of them was wrong.
    fn finish(self: Box<Self>) -> Result<u64>;
}

/// The names of all subjects.
pub const ALL: [&str; 8] = ["threads", "churn", "signals", "forks", "starts", "hot", "redis", "nginx"];

/// Starts a subject.
///
/// # Errors
/// No such one, or it cannot be built or started.
pub fn start(name: &str) -> Result<Box<dyn Subject>> {
    Ok(match name {
        "threads" => Box::new(program::Soak::start(&["threads", "500"])?),
        "churn" | "signals" => Box::new(program::Soak::start(&[name])?),
        // The same program; once only commands patch it, once the service its children too.
        "forks" | "starts" => Box::new(program::Soak::start(&["forks"])?),
        "hot" => Box::new(program::Soak::start(&["hot", "4"])?),
        "redis" => Box::new(redis::Loaded::start()?),
        "nginx" => Box::new(nginx::Loaded::start()?),
        _ => bail!("{name}: no such subject; there are {}", ALL.join(" ")),
    })
}

/// A connection to a server that has just been started; a minute is enough for it to listen.
fn once_it_listens<C>(connect: impl Fn() -> Result<C>) -> Result<C> {
    let began = Instant::now();
    loop {
        match connect() {
            Ok(client) => return Ok(client),
            Err(error) if began.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// `VmRSS`, KiB.
    memory: u64,
    mappings: usize,
    files: usize,
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
        let memory = line.trim().trim_end_matches(" kB").parse()?;
        let mappings = std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines().count();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { memory, mappings, files })
    }

    /// Not more than a program that is at work has now and then.
    fn is_back_at(&self, before: Self) -> bool {
        self.memory <= before.memory + before.memory / 10 + 1024
            && self.mappings <= before.mappings + 16
            && self.files <= before.files + 8
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Row {
    name: String,
    cycles: usize,
    took: Duration,
    /// Median and longest wall time of a command.
    command: (Duration, Duration),
    /// Commands that had to be repeated, since a thread was in the way until the time was over.
    pending: usize,
    checked: u64,
    before: Held,
    after: Held,
}

impl Row {
    /// Heads of the columns.
    pub const HEAD: &str = "subject    cycles   time s  command ms: median  longest  pending      checked  \
     memory KiB before    after  mappings      files";
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:<8} {:>8} {:>8.0} {:>19.1} {:>8.1} {:>8} {:>12} {:>18} {:>8} {:>9} {:>10}",
            self.name,
            self.cycles,
            self.took.as_secs_f64(),
            ms(self.command.0),
            ms(self.command.1),
            self.pending,
            self.checked,
            self.before.memory,
            self.after.memory,
            format!("{}→{}", self.before.mappings, self.after.mappings),
            format!("{}→{}", self.before.files, self.after.files),
        )
    }
}

/// Runs `upatch`, with the state kept below `root`.
struct Upatch<'a> {
    root: &'a Path,
    times: Vec<Duration>,
    pending: usize,
}

impl Upatch<'_> {
    fn run(&mut self, args: &[&str]) -> Result<()> {
        for _ in 0..20 {
            let command = programs::upatch()?.arg("--root").arg(self.root);
            let ended = command.args(args).run()?.expect_code(&[0, 3])?;
            self.times.push(ended.took);
            if ended.code == 0 {
                return Ok(());
            }
            ensure!(ended.stderr.contains("pending"), "{}", ended.account());
            self.pending += 1;
        }
        bail!("upatch {args:?}: still pending")
    }
}

/// Cycles after which memory is looked at first: the program has got what it needs, and the patch its memory,
/// which stays.
const WARM: usize = 20;
/// Each so many cycles the patch is removed, not only taken out.
const REMOVED: usize = 8;

/// Does it.
///
/// # Errors
/// Anything that is not as it must be.
pub fn soak(name: &str, cycles: usize) -> Result<Row> {
    ensure!(cycles > WARM, "needs more than {WARM} cycles: memory is compared with what it is after those");
    let mut subject = start(name)?;
    let root = tempfile::Builder::new().prefix("upatch-soak-").tempdir()?;
    let service = if name == "starts" { Some(Service::start(root.path())?) } else { None };
    let patch = subject.patch().to_string_lossy().into_owned();
    let id = subject.patch().file_name().context("patch")?.to_string_lossy().into_owned();
    let mut upatch = Upatch { root: root.path(), times: Vec::new(), pending: 0 };
    let began = Instant::now();
    let mut before = None;
    for cycle in 0..cycles {
        if cycle == WARM {
            before = Some(Held::by(subject.pid())?);
        }
        let seen = |is: bool, should: bool| {
            ensure!(is == should, "cycle {cycle}: patched: {is}, should be {should}");
            Ok(())
        };
        upatch.run(&["apply", &patch])?;
        seen(subject.patched().with_context(|| format!("cycle {cycle}, applied"))?, true)?;
        upatch.run(&[if cycle % REMOVED == 0 { "remove" } else { "deactive" }, &id])?;
        seen(subject.patched().with_context(|| format!("cycle {cycle}, taken out"))?, false)?;
    }
    let took = began.elapsed();
    let before = before.context("too few cycles")?;
    let after = Held::by(subject.pid())?;
    ensure!(after.is_back_at(before), "after {cycles} cycles it has {after:?}, after {WARM} {before:?}");
    if let Some(service) = service {
        service.finish()?;
    }
    let checked = subject.finish()?;
    upatch.times.sort_unstable();
    let median = upatch.times.get(upatch.times.len() / 2).copied().unwrap_or_default();
    let longest = upatch.times.last().copied().unwrap_or_default();
    let (name, command, pending) = (name.to_owned(), (median, longest), upatch.pending);
    Ok(Row { name, cycles, took, command, pending, checked, before, after })
}
