//! The record of a link.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{OsBytes, Pass, Phase};

/// Whose map file it is: the formats differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapFlavour {
    /// GNU ld.
    Bfd,
    /// GNU gold.
    Gold,
    /// LLVM lld.
    Lld,
    /// mold.
    Mold,
    /// Not recognised.
    Unknown,
}

/// An object that went into a link, on its own or as a member of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkInput {
    /// The file as the linker names it in its map.
    pub path: OsBytes,
    /// Archive member; `None` for a plain object.
    pub member: Option<OsBytes>,
    /// SHA-256 of the object's (the member's) bytes.
    pub sha256: String,
    /// 0 for the first input of this path and member name, 1 for the second (archives may hold two of a
    /// name).
    pub occurrence: u32,
}

/// One run of the linker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// Version of the format of records.
    pub version: u32,
    /// Unique within a session.
    pub id: String,
    /// The real linker.
    pub linker: OsBytes,
    /// Its arguments as given, response files not expanded, without the added map option.
    pub argv: Vec<OsBytes>,
    /// The command line with response files expanded.
    pub expanded_argv: Vec<OsBytes>,
    /// Working directory.
    pub cwd: OsBytes,
    /// Absolute path of the output.
    pub output: OsBytes,
    /// SHA-256 of the output.
    pub output_sha256: String,
    /// Copy of the output.
    pub saved: OsBytes,
    /// Copy of the map file; `None` if the linker wrote none (a `Problem` says why).
    pub map: Option<OsBytes>,
    /// Format of the map file.
    pub map_flavour: MapFlavour,
    /// Objects and archive members in command-line order. Members of an archive are all listed, also those
    /// that the linker did not take: the map says which it took. System archives are one entry each, without
    /// members.
    pub inputs: Vec<LinkInput>,
    /// Shared libraries linked against.
    pub shared_libs: Vec<OsBytes>,
    /// `-r`.
    pub relocatable: bool,
    /// `-shared`.
    pub shared: bool,
    /// A linker plugin made objects during the link.
    pub lto: bool,
    /// Phase of the session.
    pub phase: Phase,
    /// Things a report may want to mention.
    pub notes: Vec<String>,
    /// What objcopy made of the bindings of the output's symbols since; never in the linker's own record.
    #[serde(default)]
    pub copied: Vec<Pass>,
}

impl LinkRecord {
    /// The recorder's copy of an object that was linked.
    #[must_use]
    pub fn kept_object(&self, sha256: &str) -> PathBuf {
        let session = self.saved.as_path().parent().and_then(Path::parent).unwrap_or(Path::new(""));
        session.join("objects").join(sha256)
    }
}
