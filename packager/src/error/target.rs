//! Errors of the files that are to be patched.

use super::{Failure, Worded, Words};
use patchfile::exit::BuildExit;
use std::env::consts::ARCH;
use std::path::PathBuf;

/// The words for a target that the rebuild is not.
pub(super) const MISMATCH: &str = "the rebuild does not match --target";

/// Why `--target` and `--debuginfo` will not do.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum TargetError {
    /// A file that cannot be read or unpacked.
    Unread {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<Failure>,
    },
    /// `--target` names neither an RPM nor a linked file.
    NotLinked(PathBuf),
    /// `--debuginfo` names neither an RPM nor a file with debug information.
    NotDebug(PathBuf),
    /// A package of other sources.
    OtherPackage {
        /// The file.
        path: PathBuf,
        /// What it is of.
        is: String,
        /// What is built.
        wanted: String,
    },
    /// Programs that cannot be built here.
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What it is for.
        is: String,
    },
    /// No ELF file in what `--target` names.
    Nothing,
    /// The source builds no target.
    NotBuilt(Vec<String>),
}

impl Worded for TargetError {
    fn words(&self) -> Words {
        match self {
            Self::Unread { option, path, source } => {
                Words::failed(format!("{option} {}", path.display()), source.words().why)
            }
            Self::NotLinked(path) => Words::failed(
                format!("--target {}", path.display()),
                "is neither an RPM nor a linked ELF file",
            ),
            Self::NotDebug(path) => Words::failed(
                format!("--debuginfo {}", path.display()),
                "is neither an RPM nor an ELF file with debug information",
            ),
            Self::OtherPackage { path, is, wanted } => Words::new(
                BuildExit::Mismatch,
                MISMATCH,
                format!("{} is of {is}, and the source is that of {wanted}", path.display()),
            )
            .hint("give the source of exactly the package that is in service"),
            Self::OtherMachine { path, is } => Words::new(
                BuildExit::Mismatch,
                MISMATCH,
                format!("{} is {is}, and what is built here is for {ARCH}", path.display()),
            ),
            Self::Nothing => Words::failed("--target", "holds no ELF file that this program knows")
                .hint("give the binary RPM or the ELF file, not the source or debuginfo RPM"),
            Self::NotBuilt(names) => Words::new(
                BuildExit::Mismatch,
                MISMATCH,
                format!("the source builds none of {}", names.join(", ")),
            )
            .hint("is it the target of another package?"),
        }
    }
}
