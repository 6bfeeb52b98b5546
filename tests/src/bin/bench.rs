//! `upatch-bench [build|differ|pause|starts]`: what making a patch costs against a plain build, and what
//! applying one costs the process.
//!
//! The clock is the wall for latencies, and user + system CPU seconds of all processes for builds.

#![expect(clippy::print_stdout, reason = "tables are what this program is for")]

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::corpus::{folder, lay_out, required};
use tests::differ_speed;
use tests::latency::Bench;
use tests::paths::program;
use tests::run::{Cmd, children_cpu_seconds};

const ROUNDS: usize = 20;
const STARTS: usize = 500;

fn main() -> Result<()> {
    let what: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| what.is_empty() || what.iter().any(|w| w == name);
    if wanted("pause") || wanted("starts") {
        let bench = Bench::new()?;
        if wanted("pause") {
            println!("{}", bench.threads(ROUNDS)?);
            println!("{}", bench.seen_by_thread(ROUNDS)?);
            println!("{}", bench.processes(5)?);
        }
        println!("{}", bench.starts(STARTS)?);
    }
    if wanted("differ") {
        comparisons()?;
    }
    if wanted("build") {
        let corpus = required()?;
        let id = std::env::var("UPATCH_BENCH_CASE").unwrap_or_else(|_| "redis-CVE-2025-32023".into());
        builds(&corpus, &id, false)?;
        builds(&corpus, &id, true)?;
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

/// Compares the objects of a package: those below `UPATCH_BENCH_OBJECTS` (two folders with a colon between
/// them), or redis as its spec builds it, once with `-O2` and once with `-O1`.
fn comparisons() -> Result<()> {
    let given = std::env::var("UPATCH_BENCH_OBJECTS").ok();
    let mut kept = Vec::new();
    let folders: Vec<PathBuf> = match &given {
        Some(folders) => folders.split(':').map(PathBuf::from).collect(),
        None => {
            let corpus = folder().context("no corpus: set UPATCH_CORPUS or UPATCH_BENCH_OBJECTS")?;
            for level in ["-O2", "-O1"] {
                let (top, spec) = lay_out(&corpus, "redis-CVE-2025-32023", &[])?;
                let topdir = format!("_topdir {}", top.path().display());
                let flags = format!("optflags -g {level} -ffunction-sections -fdata-sections");
                let build = Cmd::new("rpmbuild").args(["--define", &topdir, "--define", &flags, "-bc"]);
                build.arg(&spec).limit(Duration::from_secs(3600)).run()?.ok()?;
                kept.push(top);
            }
            kept.iter().map(|top| top.path().join("BUILD")).collect()
        }
    };
    println!("comparing objects");
    println!(
        "{:<24} {:>8} {:>9} {:>10} {:>12} {:>9}",
        "", "pairs", "MiB", "pairs/s", "CPU ms/pair", "peak MiB"
    );
    let (first, last) = (folders.first().context("folders")?, folders.last().context("folders")?);
    let same = differ_speed::pairs(first, first)?;
    let rounds = differ_speed::rounds(&same);
    println!("{:<24} {}", "each with itself", differ_speed::compare(&same, rounds)?);
    println!("{:<24} {}", "each with itself, 10×", differ_speed::compare(&same, 10 * rounds)?);
    if last != first {
        let changed = differ_speed::pairs(first, last)?;
        println!("{:<24} {}", "nearly all changed", differ_speed::compare(&changed, rounds)?);
    }
    // The same number of functions in all, in small units and in large ones.
    for (functions, rounds) in [(500, 40), (5000, 4)] {
        let scratch = tempfile::tempdir()?;
        let (original, patched) = (scratch.path().join("original"), scratch.path().join("patched"));
        differ_speed::one_unit(functions, &original, &patched)?;
        for (what, other) in [("itself", &original), ("all changed", &patched)] {
            let pairs = differ_speed::pairs(&original, other)?;
            let what = format!("{functions} functions, {what}");
            println!("{what:<24} {}", differ_speed::compare(&pairs, rounds)?);
        }
    }
    println!();
    Ok(())
}

/// What the spec files of the corpus have in `%build`. Where `%install` lacks it, the makefile of redis
/// compiles all of it a second time with other flags, and that is what is shipped: two builds have to be
/// recorded.
const FLAGS: &str = "export CFLAGS=\"%{optflags}\" CXXFLAGS=\"%{optflags}\"\n";

fn builds(corpus: &Path, id: &str, once: bool) -> Result<()> {
    let (top, spec) = lay_out(corpus, id, &[])?;
    if once {
        let text = std::fs::read_to_string(&spec)?;
        std::fs::write(&spec, text.replace("%install\n", &format!("%install\n{FLAGS}")))?;
    }
    let scratch = tempfile::tempdir()?;
    let plain = |stage: &str| {
        let define = format!("_topdir {}", top.path().display());
        cost(Cmd::new("rpmbuild").args(["--define", &define, stage]).arg(&spec), stage)
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
    let first = plain("-bc")?;
    let cold = patch("cold")?;
    let warm = patch("warm")?;
    // Some packages compile in %install too, and what that makes is what is shipped.
    let install = plain("-bi")?;
    let second = plain("-bc")?;
    let base = (first.0 + second.0) / 2.0;
    let how = if once { ", the spec file mended so that %install does not compile again" } else { "" };
    println!("making a patch, {id}{how}");
    println!("{:<34} {:>9} {:>9} {:>7} {:>13}", "", "CPU s", "wall s", "ratio", "ratio to -bi");
    for (name, (cpu, wall)) in [
        ("rpmbuild -bc, before", first),
        ("rpmbuild -bc, after", second),
        ("rpmbuild -bi", install),
        ("upatch-build, empty store", cold),
        ("upatch-build, store of that run", warm),
    ] {
        println!("{name:<34} {cpu:>9.2} {wall:>9.2} {:>7.2} {:>13.2}", cpu / base, cpu / install.0);
    }
    println!();
    Ok(())
}
