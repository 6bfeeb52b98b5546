//! Two objects that take the same place in a link.

use super::linked_objects::ObjectPlace;
use super::lto::Programs;
use std::path::PathBuf;
use wrapper::UnitRecord;

/// One place in a link, before and after, where the objects differ.
#[derive(Clone, Debug)]
pub(crate) struct Pair<'r> {
    /// Place in the original link; in the patched one for a new object.
    pub place: ObjectPlace,
    /// Object hash in the original build; `None` for a new object.
    pub original_hash: Option<String>,
    /// Object hash in the patched build; `None` for one that is gone.
    pub patched_hash: Option<String>,
    /// How the original object was made, if that was recorded.
    pub original: Option<&'r UnitRecord>,
    /// How the patched object was made.
    pub patched: Option<&'r UnitRecord>,
    /// Both objects hold bytecode too, but the linker took their machine code.
    pub direct: bool,
    /// It stands for all that link-time optimisation made of the two programs.
    pub(crate) optimised: Option<Box<Programs<'r>>>,
    /// The object of a new unit that nobody compiles: a member of an archive that was there before the build,
    /// as it is linked.
    pub prebuilt: Option<PathBuf>,
}

impl Pair<'_> {
    /// A new unit whose object is `file`.
    pub(super) fn prebuilt(place: ObjectPlace, sha256: String, file: PathBuf) -> Self {
        Self {
            place,
            original_hash: None,
            patched_hash: Some(sha256),
            original: None,
            patched: None,
            direct: false,
            optimised: None,
            prebuilt: Some(file),
        }
    }

    /// The unit's name for messages: its source file.
    pub(crate) fn name(&self) -> String {
        let unit = self.patched.or(self.original);
        unit.map_or_else(|| self.place.show(), |u| u.source.to_string_lossy())
    }
}
