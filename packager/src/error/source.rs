//! Errors of the sources of a package and of the commits of a fix.

use super::{Failure, Worded, Words};
use patchfile::exit::BuildExit;
use std::path::PathBuf;

/// What is wrong with spec files, source RPMs, source trees and repositories.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum SourceError {
    /// git says no to the range of `--git`.
    Git {
        /// The option as it was given.
        option: String,
        /// What git said.
        said: String,
    },
    /// A name that is no commit.
    NoCommit {
        /// The option as it was given.
        option: String,
        /// The name.
        name: String,
        /// Where the repository is.
        dir: PathBuf,
        /// What git said.
        source: Box<Failure>,
    },
    /// Two commits with the same files.
    NothingBetween {
        /// The first.
        base: String,
        /// The last.
        head: String,
    },
    /// A submodule that lacks one of the commits.
    Submodule(PathBuf),
    /// A submodule that git does not check out.
    SubmoduleCheckout(#[source] Box<Failure>),
    /// Sources and patches that the spec file names.
    MissingSources {
        /// Where they should be.
        dir: PathBuf,
        /// Their names.
        files: Vec<String>,
    },
    /// rpm does not understand the spec file.
    Spec {
        /// The file.
        spec: PathBuf,
        /// What rpm said.
        said: String,
    },
    /// A source RPM with no spec file.
    NoSpec(PathBuf),
    /// A source RPM with several.
    SeveralSpecs(PathBuf),
    /// A file that is no RPM.
    NoRpm {
        /// The file.
        path: PathBuf,
        /// What rpm2cpio said.
        said: String,
    },
    /// An RPM whose files cannot be had.
    Unpack {
        /// The RPM.
        path: PathBuf,
        /// What cpio said.
        said: String,
    },
    /// A source tree cannot be copied.
    Copy {
        /// The tree.
        dir: PathBuf,
        /// What cp met.
        source: Box<Failure>,
    },
}

impl Worded for SourceError {
    fn words(&self) -> Words {
        match self {
            Self::Git { option, said } => Words::failed(option, said),
            Self::NoCommit { option, name, dir, .. } => {
                Words::failed(option, format!("{name} is no commit of {}", dir.display()))
            }
            Self::NothingBetween { base, head } => Words::new(
                BuildExit::NoChange,
                "nothing to patch",
                format!("no file differs between {base} and {head}"),
            ),
            Self::Submodule(path) => Words::failed(
                format!("submodule {}", path.display()),
                "the fix changes it, and its commits are not here",
            )
            .hint("git submodule update --init --recursive fetches them"),
            Self::SubmoduleCheckout(inner) => inner
                .words()
                .hint("git submodule update --init --recursive fetches the commits of submodules"),
            Self::MissingSources { dir, files } => Words::new(
                BuildExit::OriginalBuild,
                "missing sources",
                format!("not in {}: {}", dir.display(), files.join(", ")),
            )
            .hint("name their directory with --sourcedir DIR"),
            Self::Spec { spec, said } => {
                let lines = said.lines().filter(|l| !l.trim().is_empty());
                Words::new(
                    BuildExit::OriginalBuild,
                    format!("spec file {} does not parse", spec.display()),
                    lines.collect::<Vec<_>>().join("; "),
                )
                .hint("rpmspec -P shows what rpm makes of it")
            }
            Self::NoSpec(srpm) => Words::failed(
                format!("--srpm {}", srpm.display()),
                "holds no spec file, hence is no source RPM",
            ),
            Self::SeveralSpecs(srpm) => {
                Words::failed(format!("--srpm {}", srpm.display()), "holds several spec files")
            }
            Self::NoRpm { path, said } => Words::failed(format!("{}: not an RPM", path.display()), said),
            Self::Unpack { path, said } => {
                Words::failed(format!("{}: cannot be unpacked", path.display()), said)
            }
            Self::Copy { dir, source } => {
                Words::failed(format!("cannot copy {}", dir.display()), source.words().why)
            }
        }
    }
}
