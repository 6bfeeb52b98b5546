//! Errors of making a livepatch module for a kernel.

use super::{Worded, Words};
use linker::LinkError;
use patchfile::exit::BuildExit;
use std::path::PathBuf;

/// Why no module comes of a fix.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum KernelError {
    /// A file of the kernel's or of its packages that will not do.
    File {
        /// The file, or the option with it.
        what: String,
        /// Why.
        why: &'static str,
    },
    /// A package that cannot be unpacked.
    Package {
        /// The package.
        path: PathBuf,
        /// What dpkg said.
        said: String,
    },
    /// No headers of the kernel.
    NoDevel {
        /// Where was looked.
        named: String,
        /// `uname -r`
        release: String,
    },
    /// Headers of another kernel.
    OtherDevel {
        /// Where they are.
        dir: PathBuf,
        /// The kernel that they are of.
        of: String,
        /// The kernel that is to be patched.
        release: String,
    },
    /// No image of the kernel.
    NoImage {
        /// Where was looked.
        named: String,
        /// `uname -r`
        release: String,
    },
    /// The image of another kernel.
    OtherImage {
        /// Where it is.
        path: PathBuf,
        /// The release of the image's kernel; empty if the image does not say.
        of: String,
        /// The kernel that is to be patched.
        release: String,
    },
    /// A module that the fix changes, and that is not there.
    NoModule {
        /// Its file without ending, as Kbuild calls it.
        modfile: String,
        /// Where was looked.
        named: String,
    },
    /// No source of the kernel.
    NoSource {
        /// `uname -r`
        release: String,
        /// `6.1`
        series: String,
    },
    /// A tree that is not a kernel's.
    NoTree(PathBuf),
    /// Not the compiler that made the kernel.
    Compiler {
        /// The one that made it.
        wanted: String,
        /// The compilers that are here, in words.
        seen: Vec<String>,
    },
    /// A compiler that is not gcc.
    OtherCompiler(String),
    /// The tree's configuration comes out otherwise.
    Configuration {
        /// How many options.
        count: usize,
        /// Some of them.
        some: Vec<String>,
    },
    /// Headers that the tree generates come out otherwise.
    Generated(Vec<String>),
    /// A step of the kernel's own build failed.
    Step {
        /// What could not be done.
        what: &'static str,
        /// How it ended.
        why: String,
        /// Its log.
        log: PathBuf,
        /// Exit code.
        exit: BuildExit,
        /// What to do.
        hint: Option<String>,
    },
    /// A source file does not compile.
    Compile {
        /// The source file.
        source_file: PathBuf,
        /// The first error.
        why: String,
        /// The compiler's log.
        log: PathBuf,
        /// Exit code.
        exit: BuildExit,
    },
    /// The Makefile of a folder cannot be asked.
    Makefile {
        /// The folder.
        dir: PathBuf,
        /// What make said.
        said: String,
    },
    /// A source was compiled from a file that the fix does not reach.
    Missed {
        /// The source file.
        source_file: PathBuf,
        /// The file.
        input: PathBuf,
    },
    /// The fix changes nothing that this kernel is made of.
    Nothing {
        /// Its files that are not built.
        unused: Vec<PathBuf>,
        /// `uname -r`
        release: String,
    },
    /// The shipped kernel is not the one that was compiled.
    Mismatch {
        /// The unit.
        unit: String,
        /// How it differs.
        why: String,
    },
    /// A file that cannot be read, or a part of the module that cannot be made.
    Link(#[source] LinkError),
    /// The kernel has no signatures of modules.
    NoSignatures,
    /// The module cannot be signed.
    Sign(String),
}

impl KernelError {
    /// The log of what failed.
    pub(super) fn log_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Step { log, .. } | Self::Compile { log, .. } => Some(log),
            _ => None,
        }
    }
}

impl Worded for KernelError {
    fn words(&self) -> Words {
        match self {
            Self::File { what, why } => Words::failed(what, why),
            Self::Package { path, said } => {
                Words::failed(format!("{}: cannot be unpacked", path.display()), said)
            }
            Self::NoDevel { named, release } => {
                Words::failed(named, format!("no directory with .config and Module.symvers of {release}"))
                    .hint(format!(
                        "install linux-headers-{release} (Debian) or kernel-devel-{release} (RPM), or \
                 name its file or directory with --kernel-devel"
                    ))
            }
            Self::OtherDevel { dir, of, release } => {
                Words::failed(dir.display().to_string(), format!("is of kernel {of}, not of {release}")).hint(
                    "name the headers of this kernel with --kernel-devel, or the kernel with --kernel \
                     RELEASE",
                )
            }
            Self::NoImage { named, release } => {
                Words::failed(named, format!("no image (vmlinux or vmlinuz) of {release}")).hint(
                    "name it with --target: vmlinuz or vmlinux, the kernel's package, or the directory \
                     that it is unpacked in",
                )
            }
            Self::OtherImage { path, of, release } => {
                let why = match of.as_str() {
                    "" => format!("is not the image of kernel {release}: it does not say its release"),
                    of => format!("is the image of kernel {of}, not of {release}"),
                };
                Words::new(BuildExit::Mismatch, path.display().to_string(), why)
                    .hint("name the image of this kernel with --target, or the kernel with --kernel RELEASE")
            }
            Self::NoModule { modfile, named } => {
                let base = modfile.rsplit('/').next().unwrap_or(modfile);
                Words::failed(format!("module {base}"), format!("{named} has no {modfile}.ko")).hint(
                    "name the folder lib/modules/RELEASE, the module's file or its package with --target",
                )
            }
            Self::NoSource { release, series } => Words::failed(
                format!("source of kernel {release}"),
                format!("no /usr/src/linux-source-{series}*"),
            )
            .hint(
                "name it with --source: the tree or the archive that the distribution ships; or use \
                         --srpm or --spec",
            )
            .hint(format!(
                "Debian: apt-get install linux-source-{series}, in the version of the \
                 kernel's package"
            )),
            Self::NoTree(dir) => Words::failed(dir.display().to_string(), "is no source tree of a kernel")
                .hint("name the folder that holds Kbuild and scripts/"),
            Self::Compiler { wanted, seen } => {
                let why = match seen.as_slice() {
                    [] => format!("the kernel was made by {wanted}, which is not here"),
                    seen => format!("the kernel was made by {wanted}, but {}", seen.join(", and ")),
                };
                let named = wanted.split(' ').next().unwrap_or_default();
                Words::new(BuildExit::OriginalBuild, "compiler of the kernel", why).hint(format!(
                    "install the package of {named} in that very version, or name it with --cc"
                ))
            }
            Self::OtherCompiler(wanted) => Words::new(
                BuildExit::OriginalBuild,
                "compiler of the kernel",
                format!("the kernel was made by {wanted}: only kernels made by gcc can be patched"),
            ),
            Self::Configuration { count, some } => Words::new(
                BuildExit::Mismatch,
                "configuration of the kernel",
                format!("{count} options come out otherwise than in the shipped kernel: {}", some.join(", ")),
            )
            .hint("the source may be of another version than the kernel, or the compiler another one"),
            Self::Generated(names) => Words::new(
                BuildExit::Mismatch,
                "headers that the tree generates",
                format!("differ from those of the shipped kernel: {}", names.join(", ")),
            )
            .hint(
                "the source is of another version than the kernel, or its configuration or compiler is \
                 another one",
            ),
            Self::Step { what, why, log, exit, hint } => {
                let words = Words::new(*exit, *what, why).log(log);
                hint.iter().fold(words, |words, hint| words.hint(hint))
            }
            Self::Compile { source_file, why, log, exit } => {
                Words::new(*exit, format!("{} does not compile", source_file.display()), why).log(log)
            }
            Self::Makefile { dir, said } => {
                Words::failed(format!("Makefile of {} cannot be asked what it builds", dir.display()), said)
            }
            Self::Missed { source_file, input } => Words::failed(
                format!("{} was compiled without the fix", source_file.display()),
                format!("it names {} by an absolute path", input.display()),
            ),
            Self::Nothing { unused, release } => {
                let names: Vec<String> = unused.iter().map(|f| f.display().to_string()).collect();
                let why = match names.as_slice() {
                    [] => "no function of the kernel or of its modules differs".to_owned(),
                    names => format!("not built in the configuration of {release}: {}", names.join(", ")),
                };
                Words::new(BuildExit::NoChange, "the patch changes nothing", why).hint(
                    "a change of comments, or of what this kernel is not built from, needs no live \
                     patch",
                )
            }
            Self::Mismatch { unit, why } => Words::new(
                BuildExit::Mismatch,
                format!("the rebuild of {unit} does not match the kernel"),
                why,
            )
            .hint(
                "source, configuration or compiler are not those of the shipped kernel: see that \
                 source, headers and image are of one version of the package",
            ),
            Self::Link(source) => Words::failed("the module cannot be made", source),
            Self::NoSignatures => {
                Words::failed("--sign-key", "the kernel's configuration is without signatures of modules")
                    .hint("leave --sign-key and --sign-cert out")
            }
            Self::Sign(said) => Words::failed("the module cannot be signed", said)
                .hint("--sign-key is a private key (PEM), --sign-cert its X.509 certificate"),
        }
    }
}
