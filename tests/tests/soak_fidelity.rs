//! A few pairs of programs that differ in one thing, with a fixed seed; `make soak-fidelity` tries thousands.

use anyhow::{Result, ensure};
use tests::fidelity::Campaign;

#[test]
fn no_target_that_behaves_otherwise_is_taken_for_the_rebuild() -> Result<()> {
    let campaign = Campaign {
        seed: 2,
        pairs: 30,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        keep: std::env::temp_dir().join("upatch-fidelity-failures"),
        only: None,
        verbose: false,
    };
    let summary = campaign.run()?;
    ensure!(summary.is_good(), "{summary}");
    ensure!(summary.others() >= 12 && summary.layouts() >= 4, "hardly anything was tried: {summary}");
    Ok(())
}
