//! Why patch objects cannot be joined.

use differ::Refusal;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// An input file is damaged or of an unknown kind.
    #[error("{file}: {why}")]
    Elf {
        /// Which file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The change cannot be live-patched; every reason is named.
    #[error("{}", describe(.0))]
    Refused(Vec<Refusal>),
    /// Nothing stands against the change but functions whose entries have no room for a jump. If their
    /// callers were replaced too (`differ::Options::too_short`), it might do.
    #[error("{}", describe(.refusals))]
    NoRoom {
        /// Why the change cannot be live-patched as it is.
        refusals: Vec<Refusal>,
        /// The functions: index in [`crate::LinkInput::units`], and name in the original unit.
        functions: Vec<(usize, String)>,
    },
    /// What was linked contradicts itself: a fault of this program or of a record.
    #[error("{0}")]
    Inconsistent(String),
}

fn describe(refusals: &[Refusal]) -> String {
    let line = |r: &Refusal| format!("{}: {}: {}", r.what, r.place, r.why);
    refusals.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// A refusal, shorter to write.
pub(crate) fn refusal(
    what: impl Into<String>,
    place: impl Into<String>,
    why: impl Into<String>,
    remedy: impl Into<String>,
) -> Refusal {
    Refusal { what: what.into(), place: place.into(), why: why.into(), remedy: remedy.into() }
}
