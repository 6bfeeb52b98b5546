//! What is written to `--output`.

mod dir;
mod explained;
mod locate;
mod merged;
mod refusals;
mod report;
mod rpm;
mod template;

pub(crate) use dir::{Staged, is_free, publish};
pub(crate) use explained::explained;
pub(crate) use locate::locate;
pub(crate) use merged::merged;
pub(crate) use refusals::refusals;
pub(crate) use report::{
    Detail, ElfReport, LedgerEntry, LedgerReport, PatchReport, Refused, Report, Warned, WithoutEffect,
};
pub(crate) use rpm::{PatchPackage, RpmInput};
