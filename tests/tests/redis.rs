//! A real redis with a real fix, under load: no request fails, the data is there afterwards.
//!
//! `UPATCH_CASES` names other cases of the corpus than the one that every check runs.

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use tests::corpus::{Case, Verdict, folder};

fn main() -> std::process::ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    let Some(corpus) = folder() else {
        let note = "LEFT OUT: the redis test needs the corpus: ../shared/corpus beside the checkout, or \
         UPATCH_CORPUS";
        let line = "*".repeat(note.len());
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("\n{line}\n{note}\n{line}\n").as_bytes(),
        );
        return libtest_mimic::run(&args, Vec::new()).exit_code();
    };
    let cases = std::env::var("UPATCH_CASES").unwrap_or_else(|_| "redis-CVE-2025-32023".into());
    let trials = cases.split_whitespace().map(|id| {
        let (corpus, case) = (corpus.clone(), id.to_owned());
        Trial::test(id, move || check(&corpus, &case).map_err(|error| Failed::from(format!("{error:#}"))))
    });
    libtest_mimic::run(&args, trials.collect()).exit_code()
}

fn check(corpus: &std::path::Path, id: &str) -> Result<()> {
    let outcome = Case::build(corpus, id)?.try_patch(false)?;
    ensure!(outcome.code == 0, "upatch-build: exit code {}: {}", outcome.code, outcome.error);
    ensure!(outcome.verdict() == Verdict::Works, "{outcome:?}");
    ensure!(outcome.requests > 5000, "only {} requests under load", outcome.requests);
    Ok(())
}
