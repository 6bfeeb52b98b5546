//! Runs cases of a corpus of real security fixes: builds the package as it is shipped, makes the patch,
//! applies it to the running program, compares what the program does then with what it did, and with the
//! package built cold with the fix.
//!
//! The corpus is a folder with `mkcase` (lays out a case for rpmbuild), `corpus.yaml` and `checks/ID.sh`
//! (`ROOT start|probe|stop DIR`; exit code of probe: 0 fixed, 1 vulnerable, 2 broken). The drivers in
//! `tests/drivers/PACKAGE.sh` speak the same protocol, but their probe prints a transcript of ordinary work,
//! the same one every time.

mod case;
mod cold;
mod facts;
mod live;
mod script;

pub use case::{Case, Shipped, asked, folder, lay_out, required};
pub use facts::{Facts, read};
pub use live::{Probed, Smoke};
pub use script::Script;

use std::time::Duration;

/// What came of a case.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Exit code of `upatch-build`.
    pub code: i32,
    /// Its wall time.
    pub made_in: Duration,
    /// `fidelity` of the report.
    pub fidelity: String,
    /// Changed and new functions in the report.
    pub functions: Vec<String>,
    /// Functions that differ between independent cold builds, and that the report does not name.
    pub missing: Vec<String>,
    /// Functions that differ between cold builds in line numbers only: a patch keeps the old numbers.
    pub lines_moved: Vec<String>,
    /// The process was in a changed function all the time, and was switched with `--lazy`.
    pub lazy: bool,
    /// The error line, if no patch was made.
    pub error: String,
    /// Wall time of `upatch apply`.
    pub applied_in: Option<Duration>,
    /// What the check of the corpus saw, if there is one.
    pub check: Option<Probed>,
    /// What the driver of the package saw, if there is one.
    pub smoke: Option<Smoke>,
    /// Requests answered under load, all of them right.
    pub requests: u64,
}

/// The verdict on a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The patch was made and does in a running process what the cold build does.
    Works,
    /// `upatch-build` refused, with a reason.
    Refused,
    /// Anything else.
    Fails,
}

impl Outcome {
    /// What to make of it.
    pub fn verdict(&self) -> Verdict {
        if self.code == 4 {
            return Verdict::Refused;
        }
        let shown = self.check.as_ref().is_none_or(Probed::is_right)
            && self.smoke.as_ref().is_none_or(Smoke::is_right)
            && self.applied_in.is_some();
        if self.code == 0 && self.missing.is_empty() && shown { Verdict::Works } else { Verdict::Fails }
    }
}
