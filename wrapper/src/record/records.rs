//! What the recorder writes: one JSON file for each compilation unit, each link and each thing that could not
//! be recorded. The packager reads them back with [`crate::Session::read_records`].

use serde::{Deserialize, Serialize};

use crate::record::unit::{CopyRecord, UnitRecord};
use records::LinkRecord;
use records::OsBytes;
use records::Phase;

/// Something that could not be recorded. The build went on all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// What was not recorded, e.g. `unit src/a.c`.
    pub what: String,
    /// Why not.
    pub why: String,
    /// Arguments of the tool.
    pub argv: Vec<OsBytes>,
    /// Working directory.
    pub cwd: OsBytes,
    /// Phase of the session.
    pub phase: Phase,
}

/// All records of one phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Compilation units, in the order in which they were made.
    pub units: Vec<UnitRecord>,
    /// Units again whose objects objcopy or strip changed: with the hash of what they made, see
    /// [`UnitRecord::copied`].
    pub copied: Vec<UnitRecord>,
    /// Links, in the order in which they were made.
    pub links: Vec<LinkRecord>,
    /// What is missing.
    pub problems: Vec<Problem>,
    /// `-r` links again, of which something that was linked is the output after strip or objcopy changed
    /// nothing that runs, or only which symbols other files can name: with the hash of that. No recorder
    /// writes these; who has looked at the contents adds them.
    pub altered: Vec<LinkRecord>,
    /// What objcopy and strip changed, in order.
    pub copies: Vec<CopyRecord>,
}

impl Records {
    /// The last recorded unit that has this object hash: how a link input finds its unit.
    #[must_use]
    pub fn unit_by_object(&self, sha256: &str) -> Option<&UnitRecord> {
        self.units.iter().rev().chain(&self.copied).find(|unit| unit.object_sha256 == sha256)
    }

    /// Units whose object may be an input of a link after strip or objcopy changed it, the last one first:
    /// units that wrote a file of this path or, for a member, a file of its name. The contents must tell
    /// whether it is one.
    pub fn units_by_name<'r>(
        &'r self,
        link: &LinkRecord,
        path: &OsBytes,
        member: Option<&OsBytes>,
    ) -> impl Iterator<Item = &'r UnitRecord> {
        let whole = link.cwd.as_path().join(path.as_path());
        let member = member.map(|name| name.as_path().to_path_buf());
        self.units.iter().rev().filter(move |unit| match &member {
            Some(member) => unit.object_path.as_path().file_name() == member.file_name(),
            None => unit.object_path.as_path() == whole,
        })
    }

    /// The last link whose output had these bytes, if need be before strip or objcopy.
    #[must_use]
    pub fn link_by_sha256(&self, sha256: &str) -> Option<&LinkRecord> {
        self.links.iter().rev().chain(&self.altered).find(|link| link.output_sha256 == sha256)
    }
}
