//! The record of a compilation unit: an object, and what it takes to make it again.

use serde::{Deserialize, Serialize};

use records::OsBytes;
use records::Pass;
use records::Phase;

/// Version of the record format; a reader refuses another one.
pub(crate) const RECORD_VERSION: u32 = 1;

/// How the object came into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    /// A compiler driver made it from a high-level source.
    Compile,
    /// It was assembled from a hand-written or generated assembly file.
    Assemble,
}

impl UnitKind {
    /// By the language, in the words of `gcc -x`.
    pub(crate) fn of_language(language: &str) -> Self {
        if language.starts_with("assembler") { Self::Assemble } else { Self::Compile }
    }
}

/// [`UnitRecord::language`] of what gcc's optimiser makes during a link, in the words of `gcc -x`.
pub const LTRANS: &str = "lto";

/// [`UnitRecord::language`] of an object that one of LLVM's linkers made. It is as it was linked, each
/// function in a section of its own (LLVM's linkers do that always).
pub const LLVM: &str = "llvm-bitcode";

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
    /// `argv` with response files expanded: what [`crate::recompile::recompile`] works with, as they may be
    /// gone later.
    pub expanded_argv: Vec<OsBytes>,
    /// Working directory.
    pub cwd: OsBytes,
    /// Environment variables that can change the object; see [`crate::base::env::RELEVANT`].
    pub env: Vec<(OsBytes, OsBytes)>,
    /// When the session was made, in seconds since the epoch: [`crate::recompile::recompile`] gives it to the
    /// compiler as `SOURCE_DATE_EPOCH` if the build had none, so that `__DATE__` is the same for both sides
    /// of a comparison.
    pub session_created: u64,
    /// Source as given on the command line; `-` for standard input.
    pub source: OsBytes,
    /// Copy of what came on standard input, if `source` is `-`.
    pub stdin: Option<OsBytes>,
    /// Every input: the source itself first, then headers (system headers too).
    pub deps: Vec<Dep>,
    /// Object as given or implied by the command line.
    pub object: OsBytes,
    /// The object's absolute path.
    pub object_path: OsBytes,
    /// SHA-256 of the object's bytes.
    pub object_sha256: String,
    /// Saved copy of the object, absolute; lives as long as the session directory.
    pub stored: OsBytes,
    /// The object was taken from the store, nothing was compiled.
    pub reused: bool,
    /// The object carries link-time-optimisation bytecode, or was made from it during a link.
    pub lto: bool,
    /// `None` if [`crate::recompile::recompile`] can make it again, else why not.
    pub not_recompilable: Option<String>,
    /// Why `deps` may lack an input, or hold another content than the compiler saw.
    /// [`crate::recompile::recompile`] then proves them: without further flags the very object must come out.
    #[serde(default)]
    pub untracked: Option<String>,
    /// What objcopy and strip did to the object since; never in the compiler's own record.
    #[serde(default)]
    pub copied: Option<Copied>,
    /// Phase of the session (`original`, `patched`).
    pub phase: Phase,
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
    pub(crate) fn compiled_sha256(&self) -> &str {
        self.copied.as_ref().map_or(&self.object_sha256, |copied| &copied.compiled_sha256)
    }

    /// Copy of an input as it was when the unit was made, if one was kept.
    #[must_use]
    pub(crate) fn kept_input(&self, sha256: &str) -> Option<std::path::PathBuf> {
        let session = self.stored.as_path().parent()?.parent()?;
        Some(session.join(super::session::INPUTS).join(sha256)).filter(|kept| kept.is_file())
    }

    /// Absolute path of the source; `None` for standard input.
    #[must_use]
    pub fn source_path(&self) -> Option<std::path::PathBuf> {
        self.stdin.is_none().then(|| self.cwd.as_path().join(self.source.as_path()))
    }

    /// Did link-time optimisation make the object, during a link?
    #[must_use]
    pub fn made_by_link(&self) -> bool {
        [LTRANS, LLVM].contains(&self.language.as_str())
    }
}
