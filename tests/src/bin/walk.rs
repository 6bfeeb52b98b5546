//! `upatch-walk [CASE...]`: redis fixes of the corpus, each from a spec file, a source RPM and a git tree:
//! the patch is made, brought into a running redis under load, taken out. Prints what was run.

#![expect(clippy::print_stdout, reason = "a transcript is what this program is for")]

use anyhow::Result;
use std::process::ExitCode;
use tests::corpus::{Case, asked, required};
use tests::walk::{Way, walk};

const CASES: [&str; 3] = ["redis-CVE-2025-32023", "redis-CVE-2025-46817", "redis-CVE-2024-31227"];

fn main() -> Result<ExitCode> {
    let corpus = required()?;
    let ids = asked(&CASES);
    let cache = tempfile::tempdir()?;
    let mut failed = 0;
    for id in &ids {
        let case = Case::build(&corpus, id)?;
        for way in [Way::Spec, Way::Srpm, Way::Git] {
            println!("\n## {id}, {way:?}");
            match walk(&corpus, &case, way, cache.path()) {
                Ok(walk) => walk.lines().iter().for_each(|l| println!("{l}")),
                Err(error) => {
                    failed += 1;
                    println!("FAILED: {error:#}");
                }
            }
        }
    }
    println!("\n{} walks, {failed} failed", ids.len() * 3);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
