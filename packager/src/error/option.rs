//! Errors of the command line.

use super::{Worded, Words};
use std::path::PathBuf;

/// Options that do not go together, and files named by them that will not do.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum OptionError {
    /// Options are missing or exclude each other.
    Together(String),
    /// `--source` without `--build`.
    NoBuildCommand,
    /// The value of `--git`.
    GitRange(String),
    /// `--elf` names nothing that the package has.
    UnknownElf {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A source RPM of something that is not made from a spec file.
    SourceRpmOfTree,
    /// A file that nobody means to be read.
    TooLong {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Length in bytes that it may have.
        limit: u64,
    },
    /// A file where a directory is wanted.
    NoDirectory {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl Worded for OptionError {
    fn words(&self) -> Words {
        match self {
            Self::Together(why) => Words::usage("usage", why).hint("see upatch-build --help"),
            Self::NoBuildCommand => {
                Words::usage("usage", "--source needs --build CMD").hint("for example --build 'make -j4'")
            }
            Self::GitRange(text) => {
                Words::usage("usage", format!("--git {text}: not of the form BASE..HEAD or BASE"))
            }
            Self::UnknownElf { wanted, known } => Words::usage(
                format!("--elf {wanted}"),
                format!("the package has no such ELF file; it has {}", known.join(", ")),
            ),
            Self::SourceRpmOfTree => Words::usage("source RPM", "needs --spec or --srpm"),
            Self::TooLong { option, path, limit } => {
                Words::failed(format!("{option} {}", path.display()), format!("is longer than {limit} bytes"))
            }
            Self::NoDirectory { option, path } => {
                Words::failed(format!("{option} {}", path.display()), "is not a directory")
            }
        }
    }
}
