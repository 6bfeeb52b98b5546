//! For which product units are compared. Most rules hold for all products; those that do not ask the profile.

/// A product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Programs and libraries.
    #[default]
    User,
    /// The kernel and its modules. Only what would be wrong for them is left out so far; they have no rules
    /// of their own.
    Kernel,
}

/// A kind of records in other sections that belong to functions: where a function is shipped, its records
/// are, and what refers to a function there is no reference by the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Call frame information for the unwinding of stacks (`.eh_frame`).
    CallFrames,
}

impl RecordKind {
    /// All kinds, in the order in which they are compared and shipped.
    pub(crate) const ALL: [Self; 1] = [Self::CallFrames];
}

impl Profile {
    /// The kind of the records in a section; `None` for a section of another kind.
    pub(crate) fn records_in(self, section: &str) -> Option<RecordKind> {
        // The same for both so far. A list of the kernel's tables goes here.
        match (self, section) {
            (Self::User | Self::Kernel, ".eh_frame") => Some(RecordKind::CallFrames),
            _ => None,
        }
    }

    /// Are stacks walked with the call frame information of the code? The kernel has tables of its own, which
    /// its build makes later.
    pub(crate) fn unwinds_by_call_frames(self) -> bool {
        self == Self::User
    }
}
