//! `upatch-null-diff [CASE...]`: a comment at the top of every source file of a package changes nothing. Each
//! unit is compiled again, all line numbers are shifted, and `upatch-build` has to find no difference (exit
//! code 3). Cases are those of the corpus; default: one of redis.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use anyhow::{Context, Result};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tests::comments::everywhere;
use tests::corpus::{folder, lay_out};
use tests::paths::program;
use tests::run::Cmd;

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> Result<ExitCode> {
    let corpus = folder().context("no corpus: set UPATCH_CORPUS, or put it at ../shared/corpus")?;
    let mut cases: Vec<String> = std::env::args().skip(1).collect();
    if cases.is_empty() {
        cases.push("redis-CVE-2025-32023".into());
    }
    let mut bad = 0;
    println!("{:<32} {:>6} {:>9}  result", "case", "files", "seconds");
    for id in &cases {
        match one(&corpus, id) {
            Ok((files, seconds)) => println!("{id:<32} {files:>6} {seconds:>9.1}  nothing found"),
            Err(e) => {
                bad += 1;
                println!("{id:<32} {e:#}");
            }
        }
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Number of files changed, and the seconds that `upatch-build` took.
fn one(corpus: &Path, id: &str) -> Result<(usize, f64)> {
    let (top, spec) = lay_out(corpus, id, &[])?;
    let file = top.path().join("comments.patch");
    let files = everywhere(top.path(), &spec, &file)?;
    let ended = Cmd::new(program("upatch-build")?)
        .args(["--name", "NULL", "--no-rpm", "--cache"])
        .arg(top.path().join("cache"))
        .arg("--spec")
        .arg(&spec)
        .arg("--patch")
        .arg(&file)
        .arg("--output")
        .arg(top.path().join("out"))
        .limit(HOUR)
        .run()?;
    let seconds = ended.took.as_secs_f64();
    ended.expect_code(&[3])?;
    Ok((files, seconds))
}
