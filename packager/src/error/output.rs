//! Errors of what is written.

use super::{Worded, Words};
use std::path::PathBuf;

/// Why no package is made of the patch.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum OutputError {
    /// tar fails.
    Pack {
        /// What it said.
        said: String,
    },
    /// rpmbuild fails.
    Rpm {
        /// What it said.
        said: String,
    },
    /// `--output` holds a patch of this name for another package.
    Taken {
        /// Its directory.
        dir: PathBuf,
        /// The package.
        package: String,
    },
    /// Two files of a source RPM have one name.
    SameName(String),
    /// A place of a template that nothing fills: a fault of this program.
    Template(String),
}

impl Worded for OutputError {
    fn words(&self) -> Words {
        match self {
            Self::Pack { said } => Words::failed("cannot pack the sources of the package", said),
            Self::Rpm { said } => Words::failed("cannot make the patch RPM", said),
            Self::Taken { dir, package } => {
                Words::failed(dir.display().to_string(), format!("is a patch of the same name for {package}"))
                    .hint("give another --output, or another --name")
            }
            Self::SameName(name) => {
                Words::failed("source RPM", format!("two of its files are called {name}"))
                    .hint("give the fix another file name")
            }
            Self::Template(name) => Words::failed("spec template", format!("no value for @{name}@")),
        }
    }
}
