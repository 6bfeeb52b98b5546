//! `upatch-corpus [CASE...]`: runs cases of the corpus and prints a table and a rate. Without cases: all that are verified.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use anyhow::{Context, Result};
use std::process::ExitCode;
use tests::corpus::{Case, Outcome, folder};
use tests::run::Cmd;

fn main() -> Result<ExitCode> {
    let corpus =
        folder().context("no corpus: set UPATCH_CORPUS to its folder, or put it at ../shared/corpus")?;
    let mut cases: Vec<String> = std::env::args().skip(1).collect();
    if cases.is_empty() {
        let listed = Cmd::new(corpus.join("mkcase")).args(["list", "--verified"]).run()?.ok()?;
        cases = listed.stdout.lines().filter_map(|l| l.split('\t').next()).map(str::to_owned).collect();
    }
    println!(
        "{:<28} {:>4} {:>8} {:>9} {:>9} {:>9}  result",
        "case", "exit", "made s", "functions", "apply ms", "requests"
    );
    let (mut fixed, mut made, mut refused) = (0, 0, 0);
    for id in &cases {
        match Case::build(&corpus, id).and_then(|case| case.try_patch()) {
            Ok(outcome) => {
                made += usize::from(outcome.code == 0);
                refused += usize::from(outcome.code == 4);
                fixed += usize::from(outcome.probe.starts_with("FIXED"));
                print_row(id, &outcome);
            }
            Err(error) => {
                let text = format!("{error:#}");
                println!(
                    "{id:<28} {:>4} {:>8} {:>9} {:>9} {:>9}  FAILED {}",
                    "",
                    "",
                    "",
                    "",
                    "",
                    text.lines().next().unwrap_or_default()
                );
                let _ = std::io::Write::write_all(
                    &mut std::io::stderr(),
                    format!("--- {id}\n{text}\n").as_bytes(),
                );
            }
        }
    }
    let rate = 100.0 * made as f64 / cases.len().max(1) as f64;
    println!(
        "{} cases: {made} patches made ({rate:.0} %), {refused} refused, {fixed} shown FIXED in the running program",
        cases.len()
    );
    Ok(if made + refused == cases.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_row(id: &str, outcome: &Outcome) {
    let apply = outcome.applied_in.map(|t| format!("{:.1}", t.as_secs_f64() * 1000.0)).unwrap_or_default();
    println!(
        "{id:<28} {:>4} {:>8.1} {:>9} {apply:>9} {:>9}  {}",
        outcome.code,
        outcome.made_in.as_secs_f64(),
        outcome.changed,
        outcome.requests,
        outcome.probe.lines().next().unwrap_or_default()
    );
}
