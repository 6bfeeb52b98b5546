//! `upatch-soak [--cycles N] [SUBJECT...]`: patches go into programs at work and out again, and nothing may
//! come of it.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use anyhow::{Context, Result, ensure};
use std::process::ExitCode;
use tests::soak::{ALL, Row, soak};

fn main() -> Result<ExitCode> {
    let mut cycles = 10_000;
    let mut names = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--cycles" {
            cycles = args.next().context("--cycles: how many?")?.parse().context("--cycles")?;
        } else {
            ensure!(ALL.contains(&arg.as_str()), "{arg}: no such subject; there are {}", ALL.join(" "));
            names.push(arg);
        }
    }
    if names.is_empty() {
        names.extend(ALL.map(str::to_owned));
    }
    println!("{}", Row::HEAD);
    let mut failed = false;
    for name in names {
        match soak(&name, cycles) {
            Ok(row) => println!("{row}"),
            Err(error) => {
                failed = true;
                println!("{name}: FAILED: {error:#}");
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
