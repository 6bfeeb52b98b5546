//! What applying a patch costs: the process its pause and memory, the operator the time of the command, calls a jump.
//!
//! Times are wall-clock. The machine's own hiccups show in the column `idle gap`: on a busy machine run it with real-time
//! priority (`chrt -f 10 upatch-bench pause`).

use crate::paths::{program, testdata};
use crate::programs::{Service, patch_by_build};
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
        Ok(Self { spin, patch, dir })
    }

    fn root(&self) -> Result<PathBuf> {
        let root = self.dir.path().join("root");
        std::fs::create_dir_all(&root)?;
        Ok(root)
    }

    /// Runs `upatch`; gives milliseconds.
    fn upatch(&self, args: &[&str]) -> Result<f64> {
        let mut command = Command::new(program("upatch")?);
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
            "one process, {rounds} rounds, milliseconds: median (best)\n{:>8} {:>15} {:>15} {:>15} {:>15} {:>12} {:>15}\n",
            "threads", "idle gap", "pause: apply", "command: apply", "deactive", "memory KiB", "call ns"
        );
        for threads in [1, 50, 500] {
            let mut values: [Values; 6] = Default::default();
            let [idle, pause, apply, off, old, new] = &mut values;
            let mut memory = f64::NAN;
            for round in 0..rounds {
                // A new process each time: the first time is when the image goes in.
                let mut spin = Spin::start(&self.spin, threads)?;
                let pid = spin.child.id().to_string();
                spin.round()?;
                std::thread::sleep(Duration::from_millis(20));
                let said = spin.round()?;
                ensure!(said.work == 11, "round {round}: work() gives {} before the patch", said.work);
                idle.push(said.gap);
                old.push(said.call);
                let before = spin.memory()?;
                apply.push(self.upatch(&["apply", "--pid", &pid, &self.patch()])?);
                let said = spin.round()?;
                ensure!(said.work == 12, "round {round}: work() gives {} after the patch", said.work);
                pause.push(said.gap);
                new.push(said.call);
                memory = spin.memory()? - before;
                off.push(self.upatch(&["remove", "--pid", &pid, "PATCH"])?);
            }
            let calls = format!("{:.2} → {:.2}", old.best(), new.best());
            writeln!(
                table,
                "{threads:>8} {:>15} {:>15} {:>15} {:>15} {memory:>12} {calls:>15}",
                idle.show(),
                pause.show(),
                apply.show(),
                off.show()
            )?;
        }
        Ok(table)
    }

    /// Time for a crowd of processes.
    ///
    /// # Errors
    /// Something does not work.
    pub fn processes(&self, rounds: usize) -> Result<String> {
        let mut table = format!(
            "many processes of one thread, {rounds} rounds, milliseconds: median (best)\n{:>10} {:>18} {:>18}\n",
            "processes", "command: apply", "deactive"
        );
        for size in [200, 1000] {
            let (mut apply, mut off) = (Values::default(), Values::default());
            for _ in 0..rounds {
                let crowd = Crowd::start(&self.spin, size)?;
                apply.push(self.upatch(&["apply", &self.patch()])?);
                let patched = crowd.children.iter().filter(|c| {
                    std::fs::read_to_string(format!("/proc/{}/maps", c.id()))
                        .is_ok_and(|maps| maps.contains("upatch:PATCH"))
                });
                let patched = patched.count();
                ensure!(patched == size, "{patched} of {size} processes have the patch");
                off.push(self.upatch(&["remove", "PATCH"])?);
            }
            writeln!(table, "{size:>10} {:>18} {:>18}", apply.show(), off.show())?;
        }
        Ok(table)
    }

    /// Milliseconds from `fork` to the end of a process that answers one line, and whether it ran the new code.
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
            "a process from start to end, {rounds} rounds, milliseconds: median (best)\n{:<34} {:>15} {:>9}\n",
            "", "", "more"
        );
        let rows = ["no service", "service, patch not active", "service, patch active"];
        let mut values: [Values; 3] = Default::default();
        // In turns, so that a machine that gets slower meanwhile slows all of them.
        for _ in 0..TURNS {
            let service = Service::start(&self.root()?)?;
            self.upatch(&["apply", &self.patch()])?;
            self.measure(&mut values[2], rounds / TURNS, true)?;
            self.upatch(&["deactive", "PATCH"])?;
            self.measure(&mut values[1], rounds / TURNS, false)?;
            self.upatch(&["remove", "PATCH"])?;
            service.finish()?;
            self.measure(&mut values[0], rounds / TURNS, false)?;
        }
        let base = values[0].median();
        for (name, row) in rows.iter().zip(&values) {
            writeln!(table, "{name:<34} {:>15} {:>9.2}", row.show(), row.median() - base)?;
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
