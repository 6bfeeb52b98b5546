//! `upatch-bench [build|differ|pause|starts]`: what making a patch costs against a plain build, and what
//! applying one costs the process.
//!
//! The clock is the wall for latencies, and user + system CPU seconds of all processes for builds.

#![expect(clippy::print_stdout, reason = "tables are what this program is for")]

use anyhow::{Context, Result};
use std::path::PathBuf;
use std::time::Duration;
use tests::corpus::{folder, lay_out, required};
use tests::latency::Bench;
use tests::run::Cmd;
use tests::{build_cost, differ_speed};

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
        print!("{}", build_cost::table(&required()?)?);
    }
    Ok(())
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
