//! The reason why an object could not be compared at all.

/// An object that cannot be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a well-formed relocatable ELF object.
    #[error("{side} object is malformed: {detail}")]
    Malformed {
        /// `original`, `patched`, `plain`, `sectioned` or `patch`.
        side: &'static str,
        /// What is wrong, and where.
        detail: String,
    },
    /// Well-formed, but not of a kind that this version can compare.
    #[error("cannot compare: {what} in {place}")]
    Unsupported {
        /// What was met.
        what: String,
        /// Where.
        place: String,
    },
    /// The two objects are of different machines or classes.
    #[error("the two objects are of different kinds: {0}")]
    Different(String),
}
