//! What can be typed.

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use patchfile::state::PatchState;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Manages live patches of running processes.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "upatch",
    version,
    about = "Apply live patches to running processes, and take them out again",
    after_help = "ID: <package>/<PATCH>; <PATCH>, a CVE id or a package where that is unique; a uuid or its \
     beginning; or the \
        path of a patch directory (to look at, also of a patch's .rpm)\n\n\
        Exit codes:\n  \
        0  done everywhere\n  \
        1  failed, nothing changed\n  \
        2  wrong usage\n  \
        3  done, but some processes are pending or refused (each is named)\n  \
        4  unknown patch\n  \
        5  does not fit (build-id, architecture, format version, digest)\n  \
        6  conflict with another patch\n  \
        7  not permitted"
)]
pub(crate) struct Args {
    /// Another file-system root for /etc/upatch, /usr/lib/upatch, /var/lib/upatch and /run/upatch
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Say on standard error what is done to processes; -vv and -vvv say more. UPATCH_LOG=info, debug or
    /// trace is the same
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the known patches with their states and processes
    List(List),
    /// Show the state of patches, and how each process stands to them; without ID what is not as it should be
    Status(Status),
    /// Show the manifest of patches: identity, target, CVEs, description, sources
    Info(Show),
    /// Show the package and the ELF files that patches fit
    Target(Show),
    /// Would these patches apply here? Changes nothing
    Check(Check),
    /// Load and activate patches, in running processes and in every process started later
    Apply(Apply),
    /// Activate patches again after `deactive`
    #[command(visible_alias = "activate")]
    Active(Change),
    /// Put the old code back in every process
    #[command(visible_alias = "deactivate")]
    Deactive(Change),
    /// Confirm patches: they come back by themselves after a reboot
    Accept(Accept),
    /// Deactivate and forget patches
    Remove(Change),
    /// Write down the states of all patches, for `restore`
    Save(DryRun),
    /// Bring back the states written by `save`
    Restore(Restore),
    /// Read the installed patches again
    Rescan(DryRun),
    /// Run the service: patch processes as they start, retry the pending ones, restore at boot
    Daemon(Daemon),
    /// Show what was done, when, to which process
    Log(Log),
    /// Show what happened to a patch, and how it stands now
    History(Named),
    /// Name the processes that run old code which no patch covers, and what helps
    NeedsRestart(Json),
    /// Look for what keeps patches from working on this machine, and say what to do
    Doctor(Json),
    /// Drop what is kept of patches for programs that are gone
    Prune(DryRun),
    /// Print the commands with which gdb knows the patched functions of a process
    Gdb(Gdb),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print what a shell completes
    #[command(hide = true)]
    Complete {
        /// Of which kind.
        what: Candidates,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

impl Verb {
    /// Does it stop processes, be it for an instant?
    pub(crate) fn touches_processes(&self) -> bool {
        match self {
            Self::Check(_)
            | Self::Apply(_)
            | Self::Active(_)
            | Self::Deactive(_)
            | Self::Remove(_)
            | Self::Restore(_)
            | Self::Daemon(_) => true,
            Self::List(_)
            | Self::Status(_)
            | Self::Info(_)
            | Self::Target(_)
            | Self::Accept(_)
            | Self::Save(_)
            | Self::Rescan(_)
            | Self::Log(_)
            | Self::History(_)
            | Self::NeedsRestart(_)
            | Self::Doctor(_)
            | Self::Prune(_)
            | Self::Gdb(_)
            | Self::Completions { .. }
            | Self::Complete { .. }
            | Self::Man => false,
        }
    }
}

/// Which processes.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Only {
    /// Only this process; repeatable. Needs no daemon, and no root for one's own processes
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pids: Vec<i32>,
}

/// How to change processes.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct How {
    /// Redirect at once although old code is on some stack, which then goes on and calls the new: see the
    /// threat model's limits
    #[arg(long)]
    pub lazy: bool,
    /// Retry busy processes for this long [default: 10, or what /etc/upatch/upatch.yaml says]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn state(text: &str) -> Result<PatchState, String> {
    use PatchState::{Accepted, Actived, Deactived, NotApplied};
    let all = [NotApplied, Deactived, Actived, Accepted];
    let found = all.into_iter().find(|state| state.to_string().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("the states are {}", all.map(|state| state.to_string()).join(", ")))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(value).map_err(|e| e.to_string())
}

/// Options of verbs that change processes.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Change {
    /// The patches
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<OsString>,
    /// Which processes.
    #[command(flatten)]
    pub only: Only,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// Options of `apply`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Apply {
    /// What, and how.
    #[command(flatten)]
    pub change: Change,
    /// Then take out all other patches of the same package
    #[arg(long)]
    pub replace: bool,
    /// Print as JSON how the patches stand afterwards, as `status --json`, and the exit code
    #[arg(long, conflicts_with = "dry_run")]
    pub json: bool,
}

/// What a shell can complete.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Candidates {
    /// Names of patches.
    Ids,
    /// Processes that have a patch.
    Pids,
}

/// Options of `list`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct List {
    /// Only patches for this CVE
    #[arg(long, value_name = "ID")]
    pub cve: Option<String>,
    /// Only patches for this package: its name, or name-version-release
    #[arg(long, value_name = "NAME")]
    pub package: Option<String>,
    /// Only patches in this state
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub state: Option<PatchState>,
    /// Only patches that a process waits for or refuses
    #[arg(long)]
    pub pending: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which processes.
    #[command(flatten)]
    pub only: Only,
}

/// Options of `status`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Status {
    /// The patches [default: all of which something is not as it should be; exit code 3 then]
    #[arg(value_name = "ID")]
    pub ids: Vec<OsString>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which processes.
    #[command(flatten)]
    pub only: Only,
}

/// One or several patches.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Named {
    /// The patches
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<OsString>,
}

/// Options of `gdb`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Gdb {
    /// The process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
    /// Start gdb on the process with these commands
    #[arg(long)]
    pub run: bool,
}

/// Options of verbs that show something about patches.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Show {
    /// The patches
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<OsString>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which processes.
    #[command(flatten)]
    pub only: Only,
}

/// Options of `check`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Check {
    /// What to show.
    #[command(flatten)]
    pub show: Show,
    /// Check for `apply --lazy`
    #[arg(long)]
    pub lazy: bool,
}

/// Options of `accept`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Accept {
    /// The patches
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<OsString>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The option of verbs that look at the whole system.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The option of verbs that tidy up.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DryRun {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `restore`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Restore {
    /// Only the accepted patches, as at boot
    #[arg(long)]
    pub accepted: bool,
    /// How.
    #[command(flatten)]
    pub how: How,
}

/// Options of `daemon`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Daemon {
    /// Look this often for new processes that the kernel has not told of [default: 1, or what
    /// /etc/upatch/upatch.yaml says]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub interval: Option<Duration>,
}

/// Options of `log`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Log {
    /// Only what is about these patches (names or uuids)
    #[arg(value_name = "ID")]
    pub ids: Vec<OsString>,
    /// Only the last N events
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub lines: Option<usize>,
    /// Only what happened since then: 2026-11-30, 2026-11-30T12:00:00Z (or the beginning of such a time), or
    /// 90m, 2h, 3d ago
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
}
