//! What applying a patch costs: the process its pause and memory, the operator the time of the command, calls
//! a jump.
//!
//! Times are wall-clock. The machine's own hiccups show in the column `idle gap`: on a busy machine run it
//! with real-time priority (`chrt -f 10 upatch-bench pause`).
//!
//! With another folder of programs in `UPATCH_BENCH_BASE`, both are measured in turns, so that whatever else
//! goes on slows both: the rows `base` are that folder's.

use crate::paths::{program, testdata};
use crate::programs::{Service, patch_by_build};
use crate::run::Cmd;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The program that watches the clock, and a patch for it.
#[derive(Debug)]
pub struct Bench {
    dir: tempfile::TempDir,
    spin: PathBuf,
    patch: PathBuf,
    /// What they are called in the tables, and the programs.
    subjects: Vec<(&'static str, PathBuf)>,
}

/// What a round of the program says.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// Longest gap between two looks at the clock, in milliseconds.
    gap: f64,
    /// Value of the function that the patch changes.
    work: i32,
    /// Of a call to another that it changes, in nanoseconds.
    call: f64,
}

struct Spin {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Spin {
    fn start(program: &Path, threads: usize) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("pipe")?;
        let output = BufReader::new(child.stdout.take().context("pipe")?);
        let mut spin = Self { child, input, output };
        ensure!(spin.line()? == "ready", "spin does not start");
        Ok(spin)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn round(&mut self) -> Result<Said> {
        self.input.write_all(b"\n")?;
        let line = self.line()?;
        let words: Vec<_> = line.split(' ').collect();
        let [gap, work, call] = words[..] else { anyhow::bail!("spin says {line}") };
        Ok(Said {
            gap: gap.parse::<f64>()? / 1000.0,
            work: work.parse()?,
            call: call.parse::<f64>()? / 1000.0,
        })
    }

    /// Memory in use (`VmRSS`), in KiB.
    fn memory(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Spin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes that wait for input, all from one pipe.
struct Crowd {
    children: Vec<Child>,
    _input: PipeWriter,
}

impl Crowd {
    fn start(program: &Path, size: usize) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let mut crowd = Self { children: Vec::with_capacity(size), _input: writer };
        for _ in 0..size {
            let child = Command::new(program)
                .arg("0")
                .stdin(Stdio::from(reader.try_clone()?))
                .stdout(Stdio::null())
                .spawn()?;
            crowd.children.push(child);
        }
        for child in &crowd.children {
            let call = format!("/proc/{}/syscall", child.id());
            // In `read`: past its start-up code.
            while !std::fs::read_to_string(&call)?.starts_with("0 ") {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Values of one kind, one for each round.
#[derive(Default)]
struct Values(Vec<f64>);

impl Values {
    fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn best(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// `median (best)`
    fn show(&self) -> String {
        format!("{:.2} ({:.2})", self.median(), self.best())
    }
}

impl Bench {
    /// Builds the program and makes the patch.
    ///
    /// # Errors
    /// Either fails.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let source = testdata("spin");
        let fix = source.join("patches/work.patch");
        let (spin, patch) = patch_by_build(dir.path(), &source.join("src"), "make", "spin", &fix)?;
        let mut subjects = vec![("", program("upatch")?)];
        if let Some(base) = std::env::var_os("UPATCH_BENCH_BASE") {
            subjects = vec![("base", PathBuf::from(base).join("upatch")), ("now", program("upatch")?)];
        }
        Ok(Self { spin, patch, dir, subjects })
    }

    fn root(&self) -> Result<PathBuf> {
        let root = self.dir.path().join("root");
        std::fs::create_dir_all(&root)?;
        Ok(root)
    }

    /// Runs `upatch`; gives milliseconds.
    fn run(&self, upatch: &Path, args: &[&str]) -> Result<f64> {
        self.run_as(Command::new(upatch), args)
    }

    fn run_as(&self, mut command: Command, args: &[&str]) -> Result<f64> {
        command.arg("--root").arg(self.root()?).args(args).stdin(Stdio::null()).stdout(Stdio::null());
        let began = Instant::now();
        let status = command.status()?;
        let took = began.elapsed();
        ensure!(status.success(), "upatch {args:?}: {status}");
        Ok(took.as_secs_f64() * 1000.0)
    }

    fn patch(&self) -> String {
        self.patch.to_string_lossy().into_owned()
    }

    /// Pause, time and memory for processes with 1, 50 and 500 threads, and the cost of a patched call.
    ///
    /// # Errors
    /// Something does not work.
    pub fn threads(&self, rounds: usize) -> Result<String> {
        let mut table = format!(
            "one process, {rounds} rounds, milliseconds: median (best)\n\
             {:>8} {:4} {:>15} {:>15} {:>15} {:>15} {:>12} {:>15}\n",
            "threads", "", "idle gap", "pause: apply", "command: apply", "deactive", "memory KiB", "call ns"
        );
        for threads in [1, 50, 500] {
            let mut all: Vec<[Values; 7]> = self.subjects.iter().map(|_| Default::default()).collect();
            for round in 0..rounds {
                for ((_, upatch), values) in self.subjects.iter().zip(&mut all) {
                    self.one_process(upatch, threads, values).with_context(|| format!("round {round}"))?;
                }
            }
            for ((name, _), [idle, pause, apply, off, old, new, memory]) in self.subjects.iter().zip(&all) {
                let calls = format!("{:.2} → {:.2}", old.best(), new.best());
                writeln!(
                    table,
                    "{threads:>8} {name:4} {:>15} {:>15} {:>15} {:>15} {:>12} {calls:>15}",
                    idle.show(),
                    pause.show(),
                    apply.show(),
                    off.show(),
                    memory.median()
                )?;
            }
        }
        Ok(table)
    }

    /// A new process each time: the first time is when the image goes in.
    fn one_process(&self, upatch: &Path, threads: usize, values: &mut [Values; 7]) -> Result<()> {
        let [idle, pause, apply, off, old, new, memory] = values;
        let mut spin = Spin::start(&self.spin, threads)?;
        let pid = spin.child.id().to_string();
        spin.round()?;
        std::thread::sleep(Duration::from_millis(20));
        let said = spin.round()?;
        ensure!(said.work == 11, "work() gives {} before the patch", said.work);
        idle.push(said.gap);
        old.push(said.call);
        let before = spin.memory()?;
        apply.push(self.run(upatch, &["apply", "--pid", &pid, &self.patch()])?);
        let said = spin.round()?;
        ensure!(said.work == 12, "work() gives {} after the patch", said.work);
        pause.push(said.gap);
        new.push(said.call);
        memory.push(spin.memory()? - before);
        off.push(self.run(upatch, &["remove", "--pid", &pid, "PATCH"])?);
        Ok(())
    }

    /// The pause as a thread sees it that nothing else keeps from running: it has real-time priority on one
    /// processor, and the command, with a lower one, has another. On a machine that is not idle the other
    /// table shows what the machine does besides.
    ///
    /// # Errors
    /// Something does not work.
    pub fn seen_by_thread(&self, rounds: usize) -> Result<String> {
        let title = format!("pause as a thread with real-time priority sees it, {rounds} rounds");
        let may = Command::new("chrt").args(["-f", "1", "true"]).stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) || std::thread::available_parallelism()?.get() < 2 {
            return Ok(format!(
                "{title}\nSKIPPED: needs two processors, chrt, and the right to real-time priority\n"
            ));
        }
        let mut table = format!(
            "{title}, milliseconds: median (best)\n{:>8} {:4} {:>15} {:>15} {:>15} {:>15}\n",
            "threads", "", "idle gap", "apply", "deactive", "active"
        );
        for threads in [1, 50, 500] {
            let mut all: Vec<[Values; 4]> = self.subjects.iter().map(|_| Default::default()).collect();
            for _ in 0..rounds {
                for ((_, upatch), values) in self.subjects.iter().zip(&mut all) {
                    self.seen_once(upatch, threads, values)?;
                }
            }
            for ((name, _), values) in self.subjects.iter().zip(&all) {
                let [idle, apply, off, on] = values.each_ref().map(Values::show);
                writeln!(table, "{threads:>8} {name:4} {idle:>15} {apply:>15} {off:>15} {on:>15}")?;
            }
        }
        Ok(table)
    }

    fn seen_once(&self, upatch: &Path, threads: usize, values: &mut [Values; 4]) -> Result<()> {
        let mut spin = Spin::start(&self.spin, threads)?;
        let pid = spin.child.id().to_string();
        let set = |program: &str, args: &[&str]| -> Result<()> {
            let status = Command::new(program).args(args).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "{program} {args:?}: {status}");
            Ok(())
        };
        // Only its first thread, and not for longer than the kernel lets it.
        set("taskset", &["-p", "-c", "1", &pid])?;
        set("chrt", &["-f", "-p", "50", &pid])?;
        spin.round()?;
        std::thread::sleep(Duration::from_millis(10));
        values[0].push(spin.round()?.gap);
        let patch = self.patch();
        let verbs: [(&[&str], i32); 3] = [
            (&["apply", "--pid", &pid, &patch], 12),
            (&["deactive", "--pid", &pid, "PATCH"], 11),
            (&["active", "--pid", &pid, "PATCH"], 12),
        ];
        for ((args, work), values) in verbs.iter().zip(&mut values[1..]) {
            let mut command = Command::new("taskset");
            command.args(["-c", "0", "chrt", "-f", "40"]).arg(upatch);
            self.run_as(command, args)?;
            let said = spin.round()?;
            ensure!(said.work == *work, "{args:?}: work() gives {}", said.work);
            values.push(said.gap);
        }
        self.run(upatch, &["remove", "--pid", &pid, "PATCH"]).map(drop)
    }

    /// Time for a crowd of processes.
    ///
    /// # Errors
    /// Something does not work.
    pub fn processes(&self, rounds: usize) -> Result<String> {
        let mut table = format!(
            "many processes of one thread, {rounds} rounds, milliseconds: median (best)\n\
             {:>10} {:4} {:>18} {:>18}\n",
            "processes", "", "command: apply", "deactive"
        );
        for size in [200, 1000] {
            let mut all: Vec<[Values; 2]> = self.subjects.iter().map(|_| Default::default()).collect();
            for _ in 0..rounds {
                for ((_, upatch), [apply, off]) in self.subjects.iter().zip(&mut all) {
                    let crowd = Crowd::start(&self.spin, size)?;
                    apply.push(self.run(upatch, &["apply", &self.patch()])?);
                    let patched = crowd.children.iter().filter(|c| {
                        std::fs::read_to_string(format!("/proc/{}/maps", c.id()))
                            .is_ok_and(|maps| maps.contains("upatch:PATCH"))
                    });
                    let patched = patched.count();
                    ensure!(patched == size, "{patched} of {size} processes have the patch");
                    off.push(self.run(upatch, &["remove", "PATCH"])?);
                }
            }
            for ((name, _), [apply, off]) in self.subjects.iter().zip(&all) {
                writeln!(table, "{size:>10} {name:4} {:>18} {:>18}", apply.show(), off.show())?;
            }
        }
        Ok(table)
    }

    /// Milliseconds from `fork` to the end of a process that answers one line, and whether it ran the new
    /// code.
    fn start_to_end(&self) -> Result<(f64, bool)> {
        let began = Instant::now();
        let mut child =
            Command::new(&self.spin).arg("0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("pipe")?.write_all(b"\n")?;
        let output = child.wait_with_output()?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((took, said.ends_with("0 12 0\n")))
    }

    /// What a patch costs processes that start.
    ///
    /// # Errors
    /// Something does not work.
    pub fn starts(&self, rounds: usize) -> Result<String> {
        let mut table = format!(
            "a process from start to end, {rounds} rounds, milliseconds: median (best)\n\
             {:<34} {:4} {:>15} {:>9}\n",
            "", "", "", "more"
        );
        let rows = ["no service", "service, patch not active", "service, patch active"];
        let mut all: Vec<[Values; 3]> = self.subjects.iter().map(|_| Default::default()).collect();
        // In turns, so that a machine that gets slower meanwhile slows all of them.
        for _ in 0..TURNS {
            for ((_, upatch), values) in self.subjects.iter().zip(&mut all) {
                let service = Service::start_with(Cmd::new(upatch), &self.root()?)?;
                self.run(upatch, &["apply", &self.patch()])?;
                self.measure(&mut values[2], rounds / TURNS, true)?;
                self.run(upatch, &["deactive", "PATCH"])?;
                self.measure(&mut values[1], rounds / TURNS, false)?;
                self.run(upatch, &["remove", "PATCH"])?;
                service.finish()?;
                self.measure(&mut values[0], rounds / TURNS, false)?;
            }
        }
        for (at, row) in rows.iter().enumerate() {
            for ((name, _), values) in self.subjects.iter().zip(&all) {
                let more = values[at].median() - values[0].median();
                writeln!(table, "{row:<34} {name:4} {:>15} {more:>9.2}", values[at].show())?;
            }
        }
        Ok(table)
    }

    fn measure(&self, values: &mut Values, rounds: usize, patched: bool) -> Result<()> {
        for _ in 0..rounds {
            let (took, new) = self.start_to_end()?;
            ensure!(
                new == patched,
                "a process that started ran the {} code",
                if new { "new" } else { "old" }
            );
            values.push(took);
        }
        Ok(())
    }
}

/// How often the service starts and ends while starts are measured.
const TURNS: usize = 5;
