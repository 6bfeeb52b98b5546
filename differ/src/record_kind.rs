//! The kinds of records in other sections that belong to functions, and where products have them.

use crate::kernel::{self, Table};
use crate::profile::Profile;

/// A kind of records in other sections that belong to functions. The records of a function are shipped with
/// it. A record that refers to a function is no use of that function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Call frame information for the unwinding of stacks (`.eh_frame`).
    CallFrames,
    /// A table of the kernel.
    Table(&'static Table),
}

impl RecordKind {
    /// All kinds, in the order in which they are compared and shipped.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::CallFrames).chain(kernel::TABLES.iter().map(Self::Table))
    }
}

impl Profile {
    /// The kind of the records in a section; `None` for a section of another kind.
    pub(crate) fn records_in(self, section: &str) -> Option<RecordKind> {
        match (self, section) {
            (Self::User | Self::Kernel, ".eh_frame") => Some(RecordKind::CallFrames),
            (Self::User, _) => None,
            (Self::Kernel, _) => Table::of(section).map(RecordKind::Table),
        }
    }

    /// Is the section read by the build alone, so that nothing in it can be shipped?
    pub(crate) fn is_build_time(self, section: &str) -> bool {
        self == Self::Kernel && kernel::is_build_time(section)
    }
}
