//! For which product units are compared. Most rules hold for all products; those that do not ask the profile.

/// A product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Programs and libraries.
    #[default]
    User,
    /// The kernel and its modules. So far only rules are left out that would be wrong for them.
    Kernel,
}

/// A kind of records in other sections that belong to functions. The records of a function are shipped with
/// it. A record that refers to a function is no use of that function.
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
        // Both products have the same so far. The kernel's tables are to be added here.
        match (self, section) {
            (Self::User | Self::Kernel, ".eh_frame") => Some(RecordKind::CallFrames),
            _ => None,
        }
    }

    /// Does the call frame information of the code serve to walk stacks? The kernel has tables of its own,
    /// which its build makes later.
    pub(crate) fn unwinds_by_call_frames(self) -> bool {
        self == Self::User
    }
}
