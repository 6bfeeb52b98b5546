//! Errors of building the package.

use super::{Worded, Words};
use patchfile::exit::BuildExit;
use std::path::PathBuf;
use wrapper::Phase;

/// What a build comes to when it does not come to its end, or to nothing that can be patched.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum BuildError {
    /// A command of the build failed.
    Fails {
        /// Which build.
        side: Side,
        /// What it said of it.
        why: String,
        /// Its log.
        log: PathBuf,
        /// What to type to go on by hand, if what was built is kept.
        again: Option<String>,
    },
    /// Packages that the spec file asks for are not here.
    MissingRequires(Vec<String>),
    /// rpmbuild finds that packages are not here.
    RefusedRequires {
        /// Which build.
        side: Side,
        /// What it misses.
        names: Vec<String>,
        /// Its log.
        log: PathBuf,
    },
    /// A spec file with no place to apply the fix.
    NoPrep,
    /// The fix had no tree to be applied to, neither after %prep nor before a compilation.
    NeverPrepared,
    /// The recorder is not installed.
    NoWrapper {
        /// Where this program is.
        beside: PathBuf,
    },
    /// Nothing was linked at all.
    NothingLinked,
    /// Files that the build made by no linker that the recorder saw: another `PATH`, a sandbox, a change of
    /// root, another user. What the fix does to them is not known.
    NotRecorded(Vec<String>),
    /// The build works in the user's tree, which the fix is not applied to.
    OwnTree {
        /// The tree.
        dir: PathBuf,
        /// How that shows.
        by: OtherTree,
    },
}

/// Which of the two builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one of the package as it is.
    Original,
    /// The one with the fix.
    Patched,
}

/// How it shows that a build works in the user's tree.
#[derive(Debug)]
pub(crate) enum OtherTree {
    /// A compiler read this file there.
    Read(PathBuf),
    /// A compiler was told to look there.
    Named {
        /// What was compiled.
        source: String,
        /// The compiler's argument.
        argument: String,
    },
}

impl Side {
    /// The build that is recorded as `phase`.
    pub(crate) fn of(phase: Phase) -> Self {
        if phase == Phase::Original { Self::Original } else { Self::Patched }
    }

    fn exit(self) -> BuildExit {
        match self {
            Self::Original => BuildExit::OriginalBuild,
            Self::Patched => BuildExit::PatchedBuild,
        }
    }

    fn fails(self) -> &'static str {
        match self {
            Self::Original => "the original does not build",
            Self::Patched => "the patched source does not build",
        }
    }
}

impl BuildError {
    /// The log of the build.
    pub(super) fn log_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Fails { log, .. } | Self::RefusedRequires { log, .. } => Some(log),
            _ => None,
        }
    }
}

impl Worded for BuildError {
    fn words(&self) -> Words {
        match self {
            Self::Fails { side, why, log, again } => {
                let words = Words::new(side.exit(), side.fails(), why).log(log);
                words.hint(match again {
                    Some(again) => format!("to go on by hand: {again}"),
                    None => {
                        "with --keep-workdir what was built stays, and the command to go on by hand is shown"
                            .to_owned()
                    }
                })
            }
            Self::MissingRequires(names) => {
                Words::new(BuildExit::OriginalBuild, "missing BuildRequires", names.join(", "))
                    .hint("install them; if they are there under another name, pass --nodeps")
            }
            Self::RefusedRequires { side, names, log } => {
                Words::new(side.exit(), "missing BuildRequires", names.join(", "))
                    .hint("install them, or pass --nodeps")
                    .log(log)
            }
            Self::NoPrep => {
                Words::failed("the spec file has no %prep section", "there is no place to apply the fix")
                    .hint("add a %prep section, or use --source")
            }
            Self::NeverPrepared => Words::new(
                BuildExit::PatchedBuild,
                "the fix was not applied",
                "the spec file prepares its sources in %build, where no compiler ran",
            )
            .hint("unpack and patch the sources in %prep"),
            Self::NoWrapper { beside } => Words::failed(
                "upatch-cc not found",
                format!("looked in {} and ../libexec/upatch", beside.display()),
            )
            .hint("install it beside upatch-build or in ../libexec/upatch"),
            Self::NothingLinked => Words::failed(
                "nothing was linked in the original build",
                "no program or library to patch was made",
            )
            .hint("the tree may be built already: clean it, or add a clean-up with --prepare"),
            Self::NotRecorded(made) => not_recorded(&made.join(", ")),
            Self::OwnTree { dir, by } => {
                let why = match by {
                    OtherTree::Read(file) => {
                        format!("a compiler reads {}, which the fix does not reach", file.display())
                    }
                    OtherTree::Named { source, argument } => {
                        format!("{source} is compiled with {argument}, and what is there is without the fix")
                    }
                };
                Words::failed(format!("the build reads {}, not its copy", dir.display()), why).hint(
                    "the tree was configured where it is: give a clean tree, and configure with --prepare or \
                     --build",
                )
            }
        }
    }
}

fn not_recorded(made: &str) -> Words {
    Words::new(
        BuildExit::Refused,
        "the change cannot be live-patched safely",
        format!("link not recorded: {made}"),
    )
    .hint(format!(
        "link not recorded ({made}): the build made it, but by no linker that the recorder could see: one \
         with PATH set to something else, in a sandbox, after a change of root, or as another user; let the \
         build find its tools on the PATH that it is given, and see that the scratch directory (--workdir) \
         can be written from there"
    ))
}
