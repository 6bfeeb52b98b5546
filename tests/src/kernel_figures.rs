//! What patches of a kernel cost: processor seconds of each phase, with a new tree and again, against what
//! the kernel's own build takes for a sample of its objects.

#![expect(clippy::print_stdout, reason = "tables are what this is for")]

use crate::kernel_cases::{Bench, Case, cases};
use crate::kernels::{Kernel, fetched, folder};
use crate::livepatch;
use crate::run::{Cmd, children_cpu_seconds};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Phases, as the report calls them.
const PHASES: [&str; 7] = ["prepare", "kernel-tree", "compile", "compare", "fidelity", "link", "package"];
/// A small file, a big one, a module.
const CASES: [&str; 3] = ["string", "scheduler", "module"];
/// Folders that are built whole, as a sample.
const SAMPLE: [&str; 3] = ["kernel/time/", "net/ipv4/", "fs/proc/"];

/// Prints the tables, for the newest kernel of 6.1.
///
/// # Errors
/// When a patch cannot be made.
pub fn run() -> Result<()> {
    let Some(kernel) = fetched("6.1")? else {
        println!("SKIPPED: no kernel 6.1 in {}: run scripts/kernel 6.1", folder().display());
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let store = scratch.path().join("store");
    println!("## {}: processor seconds\n", kernel.release);
    println!("| patch | {} | sum | module |", PHASES.join(" | "));
    println!("|---|{}---|---|", "---|".repeat(PHASES.len()));
    let bench = Bench::new(&kernel, None, scratch.path())?;
    let all = cases()?;
    for name in CASES {
        let case = all.iter().find(|c| c.name == name).context("case")?;
        for (round, state) in ["first", "again"].into_iter().enumerate() {
            let mut case: Case = case.clone();
            case.name = format!("{name}-{round}");
            case.options = vec!["--cache".into(), store.display().to_string()];
            let made = bench.make(&case)?.context("nothing made")?;
            let phases = phases(&scratch.path().join(&case.name).join("out/report.yaml"))?;
            let row: Vec<String> =
                PHASES.iter().map(|p| phases.get(*p).map_or("–".into(), |s| format!("{s:.2}"))).collect();
            let sum: f64 = phases.values().sum();
            let size = std::fs::metadata(&made.module)?.len();
            println!("| {name}, {state} | {} | {sum:.2} | {size} B |", row.join(" | "));
        }
    }
    sample(&kernel, &store)
}

fn phases(report: &Path) -> Result<BTreeMap<String, f64>> {
    #[derive(serde::Deserialize)]
    struct Report {
        cpu: BTreeMap<String, f64>,
    }
    let text = std::fs::read_to_string(report).with_context(|| report.display().to_string())?;
    Ok(serde_yaml::from_str::<Report>(&text)?.cpu)
}

/// What the kernel's own build takes for some folders, and what that means for the whole.
fn sample(kernel: &Kernel, store: &Path) -> Result<()> {
    let tree = livepatch::tree_in(&kernel.dir, Some(store))?;
    let objects = || -> Result<usize> {
        let mut find = Cmd::new("find").dir(&tree);
        find = find.args(SAMPLE).args(["-name", "*.o", "-newer", ".config"]);
        Ok(find.run()?.ok()?.stdout.lines().count())
    };
    let (before, used) = (objects()?, children_cpu_seconds()?);
    Cmd::new("make")
        .args(["-s", "CC=gcc-12", &format!("KERNELRELEASE={}", kernel.release), "KBUILD_MODPOST_WARN=1"])
        .args(SAMPLE)
        .dir(&tree)
        .limit(Duration::from_secs(3600))
        .run()?
        .ok()?;
    let (after, cpu) = (objects()?, children_cpu_seconds()? - used);
    let made = after - before;
    let each = cpu / made as f64;
    let modules =
        Cmd::new("find").arg(kernel.dir.join("lib/modules")).args(["-name", "*.ko*"]).run()?.ok()?;
    let modules = modules.stdout.lines().count();
    println!(
        "\nThe kernel's own build of {}: {made} objects, {cpu:.0} s, {each:.2} s each.",
        SAMPLE.join(", ")
    );
    println!(
        "The kernel has {modules} modules of one object at least, and its image: extrapolated from the \
         sample, a full build takes more than {:.0} minutes of a processor.",
        each * modules as f64 / 60.0
    );
    Ok(())
}
