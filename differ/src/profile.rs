//! For which product units are compared. Most rules hold for all products; those that do not ask the profile.

/// A product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Programs and libraries.
    #[default]
    User,
    /// The kernel and its modules, before objtool has run over their objects. A function is replaced by
    /// redirecting its call of `__fentry__`; what has none is replaced in its callers. Entries of the
    /// kernel's tables are shipped with the functions that they are about.
    Kernel,
}

impl Profile {
    /// Does the call frame information of the code serve to walk stacks? The kernel has tables of its own,
    /// which its build makes later.
    pub(crate) fn unwinds_by_call_frames(self) -> bool {
        self == Self::User
    }
}
