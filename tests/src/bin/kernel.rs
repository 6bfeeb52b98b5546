//! `upatch-kernel [--series 6.1] [CASE...]`: the patches of `testdata/kernel` for stock kernels of Debian,
//! made and loaded in a virtual machine. `scripts/kernel` fetches the kernels; without them it says SKIPPED.
//! `upatch-kernel --fixes [FILE...]`: real fixes, between two kernels of a series. `upatch-kernel --figures`:
//! what patches cost.

#![expect(clippy::print_stdout, reason = "a transcript is what this program is for")]

use anyhow::Result;
use std::process::ExitCode;
use tests::kernel_cases::{Case, cases, run};
use tests::kernel_figures;
use tests::kernel_fixes;
use tests::kernels::{fetched, folder};

fn main() -> Result<ExitCode> {
    let mut series = vec!["6.1".to_owned(), "6.12".to_owned()];
    let mut names = Vec::new();
    let mut fixes = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--fixes" => fixes = true,
            "--figures" => {
                kernel_figures::run()?;
                return Ok(ExitCode::SUCCESS);
            }
            "--series" => series = args.next().into_iter().collect(),
            _ => names.push(arg),
        }
    }
    if fixes {
        return Ok(end(kernel_fixes::run(&names)?));
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
    Ok(end((done, failed)))
}

fn end((done, failed): (usize, usize)) -> ExitCode {
    println!("\n{done} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
