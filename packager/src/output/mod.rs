//! What is written to `--output`.

mod dir;
mod merged;
mod report;
mod rpm;
mod template;

pub use dir::{Staged, publish};
pub(crate) use merged::merged;
pub use report::{
    Detail, ElfReport, ErrorReport, LedgerEntry, LedgerReport, PatchReport, Refused, Report, UnitsReport,
    Warned, WithoutEffect,
};
pub use rpm::{PatchPackage, RpmInput};
