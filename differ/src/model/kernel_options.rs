//! What the caller knows of the kernel that a unit is a part of.

use std::collections::{BTreeMap, BTreeSet};

/// What the caller knows of the kernel that a unit is a part of. Nothing of it counts for
/// [`crate::Profile::User`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelOptions {
    /// The unit is part of a module, not of the kernel's own image.
    pub module: bool,
    /// Sizes of table entries in bytes, by the name of the table's section, as the image's BTF has them:
    /// `.altinstructions` (`struct alt_instr`), `__bug_table` (`struct bug_entry`), `__ex_table`
    /// (`struct exception_table_entry`), `__jump_table` (`struct jump_entry`), `.parainstructions`
    /// (`struct paravirt_patch_site`). For a section without a size here the sizes of known versions are
    /// tried; the relocations tell which one it is.
    pub entry_sizes: BTreeMap<String, u64>,
    /// Functions that can no longer be called through a pointer, since the build of the kernel has removed
    /// their `ENDBR` instruction (`.ibt_endbr_seal`). Code that newly takes the address of one is refused.
    pub sealed: BTreeSet<String>,
}
