//! The pairs of atoms.

use std::collections::HashMap;

/// The pairs.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// By patched atom.
    pub(crate) old_of: Vec<Option<usize>>,
    /// By original atom.
    pub(crate) new_of: Vec<Option<usize>>,
    /// Patched atoms that may or may not be one of several original ones, with these.
    pub(crate) ambiguous: HashMap<usize, Vec<usize>>,
}

impl Pairs {
    pub(crate) fn join(&mut self, old: usize, new: usize) {
        self.old_of[new] = Some(old);
        self.new_of[old] = Some(new);
    }
}
