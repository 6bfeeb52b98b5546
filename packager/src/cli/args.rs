//! The options, as in the contract.

use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Makes a live patch from a package's source and a fix.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "upatch-build",
    version,
    about = "Make a live patch from a spec file, a source RPM or a source tree, and a fix",
    after_help = "Options of rpmbuild (--define 'M V', --with X, --without X, --nocheck, --nodeps, …) are \
        handed to it.\n\n\
        Exit codes: 0 patch written; 1 failure; 2 usage; 3 the patch changes no code or data; 4 cannot be \
        live-patched safely; 5 the original does not build; 6 the patch does not apply or build; 7 the \
        rebuild does not match --target."
)]
pub(crate) struct Args {
    /// Spec file of the package
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub spec: Option<PathBuf>,
    /// Directory of the spec file's sources [default: ../SOURCES beside it, or its own directory]
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub sourcedir: Option<PathBuf>,
    /// Source RPM of the package
    #[arg(long, value_name = "FILE", help_heading = "Source")]
    pub srpm: Option<PathBuf>,
    /// Source tree, left untouched; with --kernel also its tarball
    #[arg(long, value_name = "DIR", help_heading = "Source")]
    pub source: Option<PathBuf>,
    /// Shell command that builds the source tree
    #[arg(long, value_name = "CMD", help_heading = "Source")]
    pub build: Option<String>,
    /// Shell command to run in the source tree before the fix is applied
    #[arg(long, value_name = "CMD", help_heading = "Source")]
    pub prepare: Option<String>,

    /// A livepatch module for this kernel, not a patch for programs [default: the running kernel]
    #[arg(long, value_name = "RELEASE", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["apply", "watch"], help_heading = "Kernel")]
    pub kernel: Option<String>,
    /// Configuration, Module.symvers and generated headers of the kernel: a directory or package
    /// [default: where distributions install them]
    #[arg(long, value_name = "DIR|RPM|DEB", requires = "kernel", help_heading = "Kernel")]
    pub kernel_devel: Option<PathBuf>,
    /// Only prepare the kernel's tree in the store, and print where it is
    #[arg(long, requires = "kernel", conflicts_with_all = ["no_cache", "patch", "srpm_only"], help_heading = "Kernel")]
    pub tree_only: bool,
    /// Compiler that made the kernel [default: the one that its configuration names]
    #[arg(long, value_name = "GCC", requires = "kernel", help_heading = "Kernel")]
    pub cc: Option<String>,
    /// Private key that the module is signed with
    #[arg(long, value_name = "FILE", requires_all = ["kernel", "sign_cert"], help_heading = "Kernel")]
    pub sign_key: Option<PathBuf>,
    /// Certificate of that key
    #[arg(long, value_name = "FILE", requires_all = ["kernel", "sign_key"], help_heading = "Kernel")]
    pub sign_cert: Option<PathBuf>,

    /// The fix, a unified diff; repeatable, in order
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = "Fix")]
    pub patch: Vec<PathBuf>,
    /// Directory names to strip from file names in the fix
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Fix")]
    pub strip: u32,
    /// Take the fix from git in the source tree; BASE alone: up to its files, uncommitted work included
    #[arg(long, value_name = "BASE[..HEAD]", help_heading = "Fix")]
    pub git: Option<String>,

    /// Apply the patch to this process when it is made; repeatable, with --source
    #[arg(long, value_name = "PID", action = ArgAction::Append, value_parser = clap::value_parser!(i32).range(1..), help_heading = "Fix")]
    pub apply: Vec<i32>,
    /// Make it again each time that the source tree changes; with --source
    #[arg(long, help_heading = "Fix")]
    pub watch: bool,

    /// Name of the patch [default: the CVE id found in the first patch, else its file stem; of --git the
    /// branch or the subject]
    #[arg(long, value_name = "NAME", help_heading = "Patch")]
    pub name: Option<String>,
    /// CVE id that it fixes; repeatable [default: those found in the patches]
    #[arg(long, value_name = "ID", action = ArgAction::Append, value_delimiter = ',', help_heading = "Patch")]
    pub cve: Vec<String>,
    /// One line for people [default: subject of the first patch]
    #[arg(long, value_name = "TEXT", help_heading = "Patch")]
    pub description: Option<String>,
    /// Version of the patch package
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Patch")]
    pub patch_version: u32,
    /// Release of the patch package
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Patch")]
    pub patch_release: u32,

    /// Shipped binary RPM or ELF file that the patch must fit; repeatable [default: what the rebuild
    /// produces]
    #[arg(long, value_name = "FILE", action = ArgAction::Append, num_args = 1.., help_heading = "Target")]
    pub target: Vec<PathBuf>,
    /// Debuginfo RPM or .debug file of a stripped target; repeatable
    #[arg(long, value_name = "FILE", action = ArgAction::Append, num_args = 1.., help_heading = "Target")]
    pub debuginfo: Vec<PathBuf>,
    /// Only these ELF files of the package; repeatable [default: every one that the change reaches]
    #[arg(long, value_name = "NAME", action = ArgAction::Append, help_heading = "Target")]
    pub elf: Vec<String>,

    /// Where results go; from within the source tree beside it, as DIR-patch
    #[arg(long, value_name = "DIR", default_value = ".", help_heading = "Output")]
    pub output: PathBuf,
    /// Write only the source RPM that builds this patch elsewhere
    #[arg(long, help_heading = "Output")]
    pub srpm_only: bool,
    /// Write an RPM also with --source
    #[arg(long, overrides_with = "no_rpm", help_heading = "Output")]
    pub rpm: bool,
    /// Write no RPM
    #[arg(long, overrides_with = "rpm", help_heading = "Output")]
    pub no_rpm: bool,

    /// Store of original builds and compiled units, kept between runs [default: $XDG_CACHE_HOME/upatch]
    #[arg(long, value_name = "DIR", help_heading = "Running")]
    pub cache: Option<PathBuf>,
    /// Keep no store
    #[arg(long, conflicts_with = "cache", help_heading = "Running")]
    pub no_cache: bool,
    /// Build both sides from the start: take no build out of the store, and none of the original for the fix
    #[arg(long, help_heading = "Running")]
    pub full_build: bool,
    /// Scratch space [default: a temporary directory, removed]
    #[arg(long, value_name = "DIR", help_heading = "Running")]
    pub workdir: Option<PathBuf>,
    /// Do not remove the scratch space
    #[arg(long, help_heading = "Running")]
    pub keep_workdir: bool,
    /// Parallel jobs [default: all CPUs]
    #[arg(short = 'j', long = "jobs", value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Running")]
    pub jobs: Option<u32>,
    /// Print each change and each refusal with all reasons, and what the guide says of them
    #[arg(long, help_heading = "Running")]
    pub explain: bool,
    /// Print errors only
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Running")]
    pub quiet: bool,
    /// Print more, and the causes of an error; twice, or UPATCH_LOG=debug: the commands too
    #[arg(short, long, action = ArgAction::Count, help_heading = "Running")]
    pub verbose: u8,
    /// Colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto, help_heading = "Running")]
    pub color: When,
    /// Progress bar
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto, help_heading = "Running")]
    pub progress: When,
}

impl Args {
    /// Reads the command line. Without `--output` the results go into the current directory, but never into
    /// the source tree unasked: from there they go beside it, into `NAME-patch`.
    pub(crate) fn read(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(words)?;
        let mut args = Self::from_arg_matches(&matches)?;
        let is_given = matches.value_source("output") == Some(ValueSource::CommandLine);
        let tree = args.source.as_ref().and_then(|tree| tree.canonicalize().ok()).filter(|_| !is_given);
        if let (Some(tree), Ok(here)) = (tree, std::env::current_dir())
            && here.starts_with(&tree)
            && let (Some(place), Some(name)) = (tree.parent(), tree.file_name())
        {
            args.output = place.join(format!("{}-patch", name.to_string_lossy()));
        }
        Ok(args)
    }
}

/// `auto` means: on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

impl When {
    /// Decides, given whether the stream is a terminal.
    pub(crate) fn decide(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The command for man page and completions.
pub(crate) fn command() -> clap::Command {
    Args::command()
}
