//! `upatch-corpus [--cold] [CASE...]`: runs cases of the corpus and prints a table and a rate. A CASE that is
//! the name of a package stands for all of its verified cases; without cases, all that are verified. `--cold`
//! builds the fixed package too, for every case, and compares what it does with what the patched process
//! does.

use anyhow::{Result, bail};
use std::io::Write;
use std::process::ExitCode;
use tests::corpus::{Case, Facts, Outcome, Probed, Smoke, Verdict, read, required};

fn main() -> Result<ExitCode> {
    let corpus = required()?;
    let mut cold = false;
    let mut names = Vec::new();
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--cold" => cold = true,
            other if other.starts_with('-') => bail!("no option {other}; there is --cold"),
            other => names.push(other.to_owned()),
        }
    }
    let cases = choose(&read(&corpus)?, &names)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "{:<28} {:>4} {:<10} {:>7} {:>5} {:>8} {:>8} {:<10} {:<10} {:<5} {:<5} {:<5} result",
        "case",
        "exit",
        "fidelity",
        "made s",
        "funcs",
        "apply ms",
        "requests",
        "before",
        "after",
        "back",
        "smoke",
        "cold"
    )?;
    let (mut works, mut refused, mut fails) = (0, 0, 0);
    for id in &cases {
        match Case::build(&corpus, id).and_then(|case| case.try_patch(cold)) {
            Ok(outcome) => {
                let verdict = outcome.verdict();
                match verdict {
                    Verdict::Works => works += 1,
                    Verdict::Refused => refused += 1,
                    Verdict::Fails => fails += 1,
                }
                writeln!(stdout, "{}", row(id, &outcome, verdict))?;
            }
            Err(error) => {
                fails += 1;
                let text = format!("{error:#}");
                writeln!(stdout, "{id:<28} FAILED {}", text.lines().next().unwrap_or_default())?;
                writeln!(std::io::stderr(), "--- {id}\n{text}")?;
            }
        }
        stdout.flush()?;
    }
    let rate = 100.0 * f64::from(works) / cases.len().max(1) as f64;
    writeln!(stdout, "{} cases: {works} work ({rate:.1} %), {refused} refused, {fails} failed", cases.len())?;
    Ok(if fails == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cases meant, in the corpus' order.
fn choose(all: &[Facts], names: &[String]) -> Result<Vec<String>> {
    for name in names {
        if !all.iter().any(|f| f.id == *name || f.package == *name) {
            bail!("the corpus has no case and no package {name}");
        }
    }
    let wanted =
        |f: &&Facts| names.contains(&f.id) || f.verified && (names.is_empty() || names.contains(&f.package));
    Ok(all.iter().filter(wanted).map(|f| f.id.clone()).collect())
}

fn row(id: &str, outcome: &Outcome, verdict: Verdict) -> String {
    let apply = outcome.applied_in.map(|t| format!("{:.1}", t.as_secs_f64() * 1000.0)).unwrap_or_default();
    let check = outcome.check.clone().unwrap_or_else(|| Probed {
        before: "-".into(),
        after: "-".into(),
        back: "-".into(),
        at_start: false,
    });
    let word = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    let back = match word(&check.back).as_str() {
        "VULNERABLE" => "old".to_owned(),
        "FIXED" => "kept".to_owned(),
        other => other.to_owned(),
    };
    let yes = |right: bool| if right { "same" } else { "OTHER" };
    let smoke = outcome.smoke.as_ref().map_or("-", |s| yes(s.is_right()));
    let cold = outcome.smoke.as_ref().and_then(|s| s.as_cold).map_or("-", yes);
    let functions = outcome.functions.len();
    format!(
        "{id:<28} {:>4} {:<10} {:>7.1} {functions:>5} {apply:>8} {:>8} {:<10} {:<10} {back:<5} {smoke:<5} \
         {cold:<5} {}",
        outcome.code,
        outcome.fidelity,
        outcome.made_in.as_secs_f64(),
        outcome.requests,
        word(&check.before),
        word(&check.after),
        result(outcome, verdict)
    )
}

fn result(outcome: &Outcome, verdict: Verdict) -> String {
    if outcome.code != 0 {
        return outcome.error.clone();
    }
    let mut said = vec![if verdict == Verdict::Works { "works".to_owned() } else { "FAILED".to_owned() }];
    if outcome.lazy {
        said.push("always inside a changed function: --lazy".to_owned());
    }
    if !outcome.lines_moved.is_empty() {
        said.push(format!("only line numbers: {} others", outcome.lines_moved.len()));
    }
    if !outcome.missing.is_empty() {
        said.push(format!("not in the patch: {}", outcome.missing.join(" ")));
    }
    if let Some(Smoke { first, .. }) = &outcome.smoke
        && !first.is_empty()
    {
        said.push(first.chars().take(200).collect());
    }
    said.join("; ")
}
