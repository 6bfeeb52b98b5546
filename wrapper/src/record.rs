//! What the recorder writes: one JSON file for each compilation unit, each link and each thing that could not be
//! recorded. The packager reads them back with [`crate::Session::read_records`].

use std::ffi::OsStr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::osbytes::OsBytes;

/// Version of the record format; a reader refuses another one.
pub const RECORD_VERSION: u32 = 1;

/// How the object came into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    /// A compiler driver made it from a high-level source.
    Compile,
    /// It was assembled from a hand-written or generated assembly file.
    Assemble,
}

/// One file that a unit was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dep {
    /// Absolute, with the directory of the build put in front of a relative name; `..` is left as it is.
    pub path: OsBytes,
    /// SHA-256 of the contents, lower-case hexadecimal.
    pub sha256: String,
}

/// One compilation unit: an object file and everything needed to make it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Unique within a session.
    pub id: String,
    /// Compiled or assembled.
    pub kind: UnitKind,
    /// Language in the words of `gcc -x` (`c`, `c++`, `assembler-with-cpp`, …); `unknown` if not known.
    pub language: String,
    /// The real driver (absolute path), not the wrapper.
    pub driver: OsBytes,
    /// Arguments after the driver's name, response files not expanded.
    pub argv: Vec<OsBytes>,
    /// `argv` with response files expanded: what [`crate::recompile`] works with, as they may be gone later.
    pub expanded_argv: Vec<OsBytes>,
    /// Working directory.
    pub cwd: OsBytes,
    /// Those environment variables that can change the object; see [`crate::env::RELEVANT`].
    pub env: Vec<(OsBytes, OsBytes)>,
    /// When the session was made, in seconds since the epoch: [`crate::recompile`] gives it to the compiler as
    /// `SOURCE_DATE_EPOCH` if the build had none, so that `__DATE__` is the same for both sides of a comparison.
    pub session_created: u64,
    /// Source as given on the command line; `-` for standard input.
    pub source: OsBytes,
    /// Copy of what came on standard input, if `source` is `-`.
    pub stdin: Option<OsBytes>,
    /// Every input: the source itself first, then headers (system headers too).
    pub deps: Vec<Dep>,
    /// Object as given or implied by the command line.
    pub object: OsBytes,
    /// The same, absolute.
    pub object_path: OsBytes,
    /// SHA-256 of the object's bytes.
    pub object_sha256: String,
    /// Saved copy of the object, absolute; lives as long as the session directory.
    pub stored: OsBytes,
    /// The object was taken from the store, nothing was compiled.
    pub reused: bool,
    /// The object carries link-time-optimisation bytecode, or was made from it during a link.
    pub lto: bool,
    /// `None` if [`crate::recompile`] can make it again, else why not.
    pub not_recompilable: Option<String>,
    /// Why `deps` may lack an input, or hold another content than the compiler saw. [`crate::recompile`] then proves them:
    /// without further flags the very object must come out.
    #[serde(default)]
    pub untracked: Option<String>,
    /// What objcopy and strip did to the object since; never in the compiler's own record.
    #[serde(default)]
    pub copied: Option<Copied>,
    /// Phase of the session (`original`, `patched`).
    pub phase: String,
    /// Things a report may want to mention.
    pub notes: Vec<String>,
}

/// What was done to an object after it was compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// SHA-256 of the object that the compiler made.
    pub compiled_sha256: String,
    /// Runs that changed what is linked, in order.
    pub passes: Vec<Pass>,
}

/// A run of objcopy or strip, to be repeated on another object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// The real tool.
    pub tool: OsBytes,
    /// Its options, without those that change nothing that is linked.
    pub options: Vec<OsBytes>,
    /// Working directory.
    pub cwd: OsBytes,
}

/// One object, or member of an archive, that objcopy or strip changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Unique within a session.
    pub id: String,
    /// SHA-256 of the object before.
    pub input_sha256: String,
    /// SHA-256 of the object after.
    pub output_sha256: String,
    /// Where a copy of the object after is, if there is a pass.
    pub stored: OsBytes,
    /// `None` if nothing that is linked changed.
    pub pass: Option<Pass>,
}

impl UnitRecord {
    /// SHA-256 of the object as the compiler made it.
    #[must_use]
    pub fn compiled_sha256(&self) -> &str {
        self.copied.as_ref().map_or(&self.object_sha256, |copied| &copied.compiled_sha256)
    }

    /// Copy of an input as it was when the unit was made, if one was kept.
    #[must_use]
    pub fn kept_input(&self, sha256: &str) -> Option<std::path::PathBuf> {
        let session = self.stored.as_path().parent()?.parent()?;
        Some(session.join(crate::session::INPUTS).join(sha256)).filter(|kept| kept.is_file())
    }

    /// Did link-time optimisation make the object, during a link?
    #[must_use]
    pub fn made_by_link(&self) -> bool {
        [crate::LTRANS, crate::LLVM].contains(&self.language.as_str())
    }

    /// Absolute path of the source (`None` for standard input).
    #[must_use]
    pub fn source_path(&self) -> Option<std::path::PathBuf> {
        (self.stdin.is_none()).then(|| self.cwd.as_path().join(self.source.as_path()))
    }
}

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
    /// 0 for the first input of this path and member name, 1 for the second (archives may hold two of a name).
    pub occurrence: u32,
}

/// One run of the linker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Unique within a session.
    pub id: String,
    /// The real linker.
    pub linker: OsBytes,
    /// Its arguments as given, response files not expanded, without the added map option.
    pub argv: Vec<OsBytes>,
    /// The same with response files expanded.
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
    /// Objects and archive members in command-line order. Members of an archive are all listed, also those that the
    /// linker did not take: the map says which it took. System archives are one entry each, without members.
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
    pub phase: String,
    /// Things a report may want to mention.
    pub notes: Vec<String>,
}

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
    pub phase: String,
}

/// All records of one phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Compilation units, in the order in which they were made.
    pub units: Vec<UnitRecord>,
    /// Units again whose objects objcopy or strip changed: with the hash of what they made, see [`UnitRecord::copied`].
    pub copied: Vec<UnitRecord>,
    /// Links, in the order in which they were made.
    pub links: Vec<LinkRecord>,
    /// What is missing.
    pub problems: Vec<Problem>,
    /// `-r` links again, of which something that was linked is the output after strip or objcopy changed nothing that runs: with the
    /// hash of that. No recorder writes these; who has looked at the contents adds them.
    pub altered: Vec<LinkRecord>,
}

impl Records {
    /// The last recorded unit that has this object hash: how a link input finds its unit.
    #[must_use]
    pub fn unit_by_object(&self, sha256: &str) -> Option<&UnitRecord> {
        self.units.iter().rev().chain(&self.copied).find(|unit| unit.object_sha256 == sha256)
    }

    /// The unit behind an input of a link. Units with equal objects (empty ones, say) are told apart by the object's path, then
    /// by its file name; if that does not help, any of them is as good as the other, and the last is taken.
    #[must_use]
    pub fn unit_of_input(&self, link: &LinkRecord, input: &LinkInput) -> Option<&UnitRecord> {
        let equal = || self.units.iter().rev().filter(|unit| unit.object_sha256 == input.sha256);
        let path = link.cwd.as_path().join(input.path.as_path());
        let name = input.member.as_ref().unwrap_or(&input.path).as_path().file_name().map(OsStr::to_owned);
        equal()
            .find(|unit| input.member.is_none() && unit.object_path.as_path() == path)
            .or_else(|| equal().find(|unit| unit.object_path.as_path().file_name() == name.as_deref()))
            .or_else(|| equal().next())
    }

    /// Units whose object an input of a link may be after strip or objcopy changed it, the last one first: those that wrote a
    /// file of this path, of a member those that wrote a file of its name. Whether it is one, the contents must tell.
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

    /// The last link that wrote this file.
    #[must_use]
    pub fn link_by_output(&self, output: &Path) -> Option<&LinkRecord> {
        self.links.iter().rev().find(|link| link.output.as_path() == output)
    }

    /// The last link whose output had these bytes, if need be before strip or objcopy.
    #[must_use]
    pub fn link_by_sha256(&self, sha256: &str) -> Option<&LinkRecord> {
        self.links.iter().rev().chain(&self.altered).find(|link| link.output_sha256 == sha256)
    }
}
