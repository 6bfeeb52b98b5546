//! `upatch-kernel [--series 6.1] [CASE...]`: the patches of `testdata/kernel` for stock kernels of Debian,
//! made and loaded in a virtual machine. `scripts/kernel` fetches the kernels; without them it says SKIPPED.

#![expect(clippy::print_stdout, reason = "a transcript is what this program is for")]

use anyhow::Result;
use std::process::ExitCode;
use std::time::Instant;
use tests::kernel_cases::{Bench, Case, cases, load};
use tests::kernels::{Kernel, fetched, folder};
use tests::run::children_cpu_seconds;

fn main() -> Result<ExitCode> {
    let mut series = vec!["6.1".to_owned(), "6.12".to_owned()];
    let mut names = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--series" => series = args.next().into_iter().collect(),
            _ => names.push(arg),
        }
    }
    let kernels = [fetched("6.1")?, fetched("6.12")?];
    let mut failed = 0;
    let mut done = 0;
    for (number, kernel) in kernels.iter().enumerate() {
        let of = ["6.1", "6.12"][number];
        if !series.iter().any(|s| s == of) {
            continue;
        }
        let Some(kernel) = kernel else {
            println!("SKIPPED: no kernel of {of} in {}: run scripts/kernel {of}", folder().display());
            continue;
        };
        let chosen: Vec<Case> = cases()?
            .into_iter()
            .filter(|c| names.is_empty() || names.contains(&c.name))
            .filter(|c| c.only.is_empty() || c.only.iter().any(|s| s == of))
            .collect();
        let other = kernels.iter().flatten().find(|k| *k != kernel);
        let (passed, wrong) = run(kernel, other, &chosen)?;
        done += passed;
        failed += wrong;
    }
    println!("\n{done} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(kernel: &Kernel, other: Option<&Kernel>, cases: &[Case]) -> Result<(usize, usize)> {
    println!("\n## {}", kernel.release);
    let work = tempfile::tempdir()?;
    let bench = Bench::new(kernel, other, cases, work.path())?;
    let (mut made, mut wrong) = (Vec::new(), 0);
    for case in cases {
        let (began, used) = (Instant::now(), children_cpu_seconds()?);
        let result = bench.make(case);
        let cpu = children_cpu_seconds()? - used;
        let took = began.elapsed().as_secs_f64();
        match result {
            Ok(module) => {
                println!("{:18} {took:6.1} s, {cpu:5.1} s CPU: {}", case.name, case.shows);
                made.extend(module);
            }
            Err(error) => {
                wrong += 1;
                println!("{:18} FAILED: {error:#}", case.name);
            }
        }
    }
    if !made.is_empty() {
        let began = Instant::now();
        let problems = load(kernel, &made)?;
        println!("{} modules in a machine: {:.1} s", made.len(), began.elapsed().as_secs_f64());
        for problem in &problems {
            println!("FAILED: {problem}");
        }
        wrong += problems.len();
    }
    Ok((cases.len().saturating_sub(wrong), wrong))
}
