//! What a patch object holds beyond ELF, kept as JSON in a section that is not loaded.

use serde::{Deserialize, Serialize};

use crate::model::{PatchSymbol, SectionKind};

/// Name of the section.
pub(super) const SECTION: &str = ".upatch.object";
/// Version of the content; raised when the content changes its meaning.
pub(super) const FORMAT: u32 = 1;

/// Content of the section.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) format: u32,
    pub(super) source_file: String,
    /// Kinds of the sections, in order.
    pub(super) kinds: Vec<SectionKind>,
    /// All symbols. The symbol table has the local ones first.
    pub(super) symbols: Vec<PatchSymbol>,
    /// Per section which of its relocations are branches, by index.
    pub(super) branches: Vec<Vec<usize>>,
}
