//! Exit codes of both programs: a published interface, kept to the letter.

/// Exit codes of `upatch-build`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BuildExit {
    /// Patch written.
    Done = 0,
    /// Any failure that has no code of its own.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The patch changes no code or data of any ELF: nothing written.
    NoChange = 3,
    /// The change cannot be live-patched safely: nothing written, every reason named.
    Refused = 4,
    /// The original does not build.
    OriginalBuild = 5,
    /// The patch does not apply, or the patched source does not build.
    PatchedBuild = 6,
    /// The rebuild does not match `--target`.
    Mismatch = 7,
}

/// Exit codes of `upatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ManageExit {
    /// Done everywhere.
    Done = 0,
    /// Failed, nothing changed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// Done, but some processes are pending or refused (each is named).
    Partly = 3,
    /// Unknown patch.
    Unknown = 4,
    /// Does not fit: build-id, architecture, format version or digest.
    DoesNotFit = 5,
    /// Conflict with another patch.
    Conflict = 6,
    /// Not permitted.
    NotPermitted = 7,
}

impl From<BuildExit> for std::process::ExitCode {
    fn from(code: BuildExit) -> Self {
        Self::from(code as u8)
    }
}

impl From<ManageExit> for std::process::ExitCode {
    fn from(code: ManageExit) -> Self {
        Self::from(code as u8)
    }
}
