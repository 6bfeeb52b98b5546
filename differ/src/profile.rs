//! For which product units are compared. Most rules hold for all products; those that do not ask the profile.

use crate::kernel::{self, Table};

/// A product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Programs and libraries.
    #[default]
    User,
    /// The kernel and its modules, before objtool has run over their objects. A function is replaced by
    /// redirecting its call of `__fentry__`; what has none is replaced in its callers. Entries of the kernel's
    /// tables are shipped with the functions that they are about.
    Kernel,
}

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

    /// Does the call frame information of the code serve to walk stacks? The kernel has tables of its own,
    /// which its build makes later.
    pub(crate) fn unwinds_by_call_frames(self) -> bool {
        self == Self::User
    }
}
