//! `upatch-shipped [--again] [--table] [PACKAGE...]`: patches for the files that Debian ships, one package
//! after the other, and a table. What was found out about a package is kept, and the package not tried again,
//! unless it is named with `--again`. Without names: all that are not large. `--table` prints what is kept.

use anyhow::{Result, bail};
use std::io::Write;
use std::process::ExitCode;
use tests::shipped::{Entry, Outcome, attempt, entries, kept, table};

fn main() -> Result<ExitCode> {
    let (mut again, mut only_table) = (false, false);
    let mut names = Vec::new();
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--again" => again = true,
            "--table" => only_table = true,
            other if other.starts_with('-') => bail!("no option {other}; there are --again and --table"),
            other => names.push(other.to_owned()),
        }
    }
    let all = entries()?;
    if let Some(name) = names.iter().find(|n| !all.iter().any(|e| e.source == **n)) {
        bail!("no package {name} in the list");
    }
    let wanted = |e: &&Entry| names.contains(&e.source) || names.is_empty() && !e.large;
    let mut stdout = std::io::stdout().lock();
    for entry in all.iter().filter(wanted).filter(|_| !only_table) {
        if !again && kept(&entry.source).is_some() {
            continue;
        }
        let outcome = attempt(entry).unwrap_or_else(|error| Outcome {
            source: entry.source.clone(),
            why: format!("{error:#}"),
            ..Outcome::default()
        });
        outcome.keep()?;
        writeln!(
            std::io::stderr(),
            "{}: {}",
            entry.source,
            table(&[outcome]).lines().nth(2).unwrap_or_default()
        )?;
    }
    let outcomes: Vec<Outcome> = all.iter().filter_map(|e| kept(&e.source)).collect();
    write!(stdout, "{}", table(&outcomes))?;
    let bad = outcomes.iter().any(Outcome::is_wrong);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
