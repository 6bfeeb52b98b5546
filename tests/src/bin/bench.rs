//! `upatch-bench [build|pause]`: what making a patch costs against a plain build, and what applying one costs the process.
//!
//! The clock is the wall for latencies, and user + system CPU seconds of all processes for builds.

#![expect(clippy::print_stdout, reason = "tables are what this program is for")]

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tests::corpus::{folder, lay_out};
use tests::paths::{program, testdata};
use tests::programs::upatch;
use tests::run::{Cmd, children_cpu_seconds};

const ROUNDS: usize = 20;

fn main() -> Result<()> {
    let what: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| what.is_empty() || what.iter().any(|w| w == name);
    if wanted("pause") {
        pauses()?;
    }
    if wanted("build") {
        match folder() {
            Some(corpus) => builds(&corpus)?,
            None => {
                bail!("no corpus, so no build of redis: set UPATCH_CORPUS, or put it at ../shared/corpus")
            }
        }
    }
    Ok(())
}

/// CPU and wall seconds of a command.
fn cost(command: Cmd, what: &str) -> Result<(f64, f64)> {
    let before = children_cpu_seconds()?;
    let ended = command.limit(Duration::from_secs(3600)).run()?.ok().with_context(|| what.to_owned())?;
    let cpu = children_cpu_seconds()? - before;
    Ok((cpu, ended.took.as_secs_f64()))
}

fn builds(corpus: &Path) -> Result<()> {
    let id = std::env::var("UPATCH_BENCH_CASE").unwrap_or_else(|_| "redis-CVE-2025-32023".into());
    let (top, spec) = lay_out(corpus, &id, &[])?;
    let scratch = tempfile::tempdir()?;
    let plain = || {
        let define = format!("_topdir {}", top.path().display());
        cost(Cmd::new("rpmbuild").args(["--define", &define, "-bc"]).arg(&spec), "rpmbuild -bc")
    };
    let patch = |round: &str| {
        let command = Cmd::new(program("upatch-build")?)
            .arg("--spec")
            .arg(&spec)
            .arg("--patch")
            .arg(top.path().join("hotpatch.patch"))
            .args(["--name", "BENCH", "--cache"])
            .arg(scratch.path().join("store"))
            .arg("--output")
            .arg(scratch.path().join(round));
        cost(command, round)
    };
    // Plain builds before and after, so that a machine that gets slower meanwhile shows.
    let first = plain()?;
    let cold = patch("cold")?;
    let warm = patch("warm")?;
    let second = plain()?;
    let base = (first.0 + second.0) / 2.0;
    println!("making a patch, {id}");
    println!("{:<34} {:>9} {:>9} {:>7}", "", "CPU s", "wall s", "ratio");
    for (name, (cpu, wall)) in [
        ("rpmbuild -bc, before", first),
        ("rpmbuild -bc, after", second),
        ("upatch-build, empty store", cold),
        ("upatch-build, store of that run", warm),
    ] {
        println!("{name:<34} {cpu:>9.2} {wall:>9.2} {:>7.2}", cpu / base);
    }
    println!();
    Ok(())
}

/// The spinning-clock target.
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

    /// Ends a round: the longest gap in microseconds, and the answer of `work`.
    fn round(&mut self) -> Result<(f64, String)> {
        self.input.write_all(b"\n")?;
        let line = self.line()?;
        let (gap, work) = line.split_once(' ').context("answer of spin")?;
        Ok((gap.parse()?, work.to_owned()))
    }
}

impl Drop for Spin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pauses() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("spin");
    Cmd::new("cp").arg("-r").arg(testdata("spin").join("src")).arg(&source).run()?.ok()?;
    Cmd::new("make").arg("-C").arg(&source).run()?.ok()?;
    let clean = dir.path().join("source");
    Cmd::new("cp").arg("-r").arg(testdata("spin").join("src")).arg(&clean).run()?.ok()?;
    let out = dir.path().join("out");
    Cmd::new(program("upatch-build")?)
        .arg("--source")
        .arg(&clean)
        .args(["--build", "make", "--no-cache", "--name", "SPIN", "--patch"])
        .arg(testdata("spin").join("patches/work.patch"))
        .arg("--target")
        .arg(source.join("spin"))
        .arg("--output")
        .arg(&out)
        .run()?
        .ok()?;
    println!("applying a patch: median (best) of {ROUNDS} rounds, milliseconds");
    println!(
        "{:>8} {:>18} {:>18} {:>18} {:>18}",
        "threads", "gap, no apply", "pause of apply", "apply", "deactive"
    );
    for threads in [1, 50, 500] {
        let (mut quiet, mut pause, mut apply, mut off) = (vec![], vec![], vec![], vec![]);
        let mut spin = Spin::start(&source.join("spin"), threads)?;
        let root = dir.path().join(format!("root-{threads}"));
        std::fs::create_dir(&root)?;
        let pid = spin.child.id().to_string();
        for round in 0..ROUNDS {
            spin.round()?;
            std::thread::sleep(Duration::from_millis(20));
            let (gap, work) = spin.round()?;
            ensure!(work == "11", "round {round}: work() gives {work} before the patch");
            quiet.push(gap / 1000.0);
            let run = |verb: &str, id: &str| {
                upatch()?.arg("--root").arg(&root).args([verb, "--pid", &pid, id]).run()?.ok()
            };
            let dir = out.join("SPIN").to_string_lossy().into_owned();
            let ended = run("apply", &dir)?;
            let (gap, work) = spin.round()?;
            ensure!(work == "12", "round {round}: work() gives {work} after the patch");
            pause.push(gap / 1000.0);
            apply.push(ended.took.as_secs_f64() * 1000.0);
            off.push(run("remove", "SPIN")?.took.as_secs_f64() * 1000.0);
        }
        let cells = [&mut quiet, &mut pause, &mut apply, &mut off].map(|values| {
            values.sort_by(f64::total_cmp);
            let middle = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
            format!("{middle:.2} ({:.2})", values.first().copied().unwrap_or(f64::NAN))
        });
        println!("{threads:>8} {:>18} {:>18} {:>18} {:>18}", cells[0], cells[1], cells[2], cells[3]);
    }
    println!();
    Ok(())
}
