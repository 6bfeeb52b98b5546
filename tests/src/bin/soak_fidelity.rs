//! `upatch-soak-fidelity [--pairs N] [--seed S] [--jobs J] [--keep DIR] [--only PAIR] [-v]`: programs built
//! in pairs that differ in one thing. Is a patch for the one taken for one that fits the other? Ends with 1
//! if one was that behaves otherwise, or if too many were refused that do not.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use tests::fidelity::Campaign;

fn main() -> Result<ExitCode> {
    let mut campaign = Campaign {
        seed: 1,
        pairs: 100,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        keep: PathBuf::from("fidelity-failures"),
        only: None,
        verbose: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        if option == "-v" {
            campaign.verbose = true;
            continue;
        }
        let value = args.next().with_context(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--seed" => campaign.seed = value.parse()?,
            "--pairs" => campaign.pairs = value.parse()?,
            "--jobs" => campaign.jobs = value.parse()?,
            "--keep" => campaign.keep = value.into(),
            "--only" => campaign.only = Some(value.parse()?),
            _ => bail!("unknown option {option}"),
        }
    }
    let summary = campaign.run()?;
    println!("seed {}, {} pairs asked for\n{summary}", campaign.seed, campaign.pairs);
    Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
