//! The source trees of a run.

/// A source tree with the results of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// The build as shipped.
    Original,
    /// The build with the fix.
    Patched,
    /// The build with the fix and numbered lines, while another one without is made.
    Numbered,
}

impl Tree {
    /// Its folder in the scratch directory while it lies aside.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Original => "BUILD.orig",
            Self::Patched => "BUILD.patched",
            Self::Numbered => "BUILD.numbered",
        }
    }
}
