//! A few random pairs of programs with a fixed seed; `make soak-random` tries thousands.

use anyhow::{Result, ensure};
use tests::random::Campaign;

#[test]
fn a_few_random_programs_are_patched_right() -> Result<()> {
    let campaign = Campaign {
        seed: 1,
        pairs: 24,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        keep: std::env::temp_dir().join("upatch-random-failures"),
        only: None,
        verbose: false,
        keep_refused: false,
    };
    let summary = campaign.run()?;
    ensure!(summary.bad.is_empty(), "{summary}");
    ensure!(summary.right >= 8 && summary.judged() >= 20, "hardly anything was tried: {summary}");
    Ok(())
}
