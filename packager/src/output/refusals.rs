//! Refusals in words for the one who made the fix.

use super::merged;
use super::report::Refused;
use crate::error::{CompareError, RefusalLine};

/// The error (exit code 4) that names each of them.
pub(crate) fn refusals<'r>(all: impl IntoIterator<Item = &'r Refused>) -> CompareError {
    let mut once: Vec<&Refused> = Vec::new();
    for refusal in all {
        if !once.contains(&refusal) {
            once.push(refusal);
        }
    }
    let line = |r: &&Refused| (r.what.clone(), r.place.clone(), format!("{}; {}", r.why, r.remedy));
    let lines = merged(once.iter().map(line)).into_iter();
    CompareError::Refused(lines.map(|(what, place, why)| RefusalLine { what, place, why }).collect())
}
