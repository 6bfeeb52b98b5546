//! What every verb needs.

use super::{backend::Backend, error::Error, settings::Settings, stop_request::StopRequest};
use crate::catalog::Owner;
use patchfile::exit::ManageExit;
use std::{
    io::{ErrorKind, Write},
    path::PathBuf,
};

/// What every verb needs.
pub(crate) struct Context<'a> {
    /// File-system root.
    pub root: PathBuf,
    /// What touches processes.
    pub backend: &'a dyn Backend,
    /// Who may ask to stop.
    pub stop: &'a dyn StopRequest,
    /// Who runs this.
    pub owner: Owner,
    /// Identity of this boot.
    pub boot: String,
    /// Defaults of this machine.
    pub settings: Settings,
    /// Width of the terminal that results go to, in columns, if they go to one.
    pub terminal: Option<usize>,
    /// Results.
    pub out: &'a mut dyn Write,
    /// Messages.
    pub err: &'a mut dyn Write,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// Writes a line of results. A reader that went away (`upatch list | head -1`) is not an error.
    ///
    /// # Errors
    /// Standard output cannot be written for another reason (disk full).
    pub(crate) fn say(&mut self, line: impl std::fmt::Display) -> Result<(), Error> {
        match writeln!(self.out, "{line}") {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::failed("standard output", e)),
            _ => Ok(()),
        }
    }

    /// Writes a message that is not an error.
    pub(crate) fn warn(&mut self, line: impl std::fmt::Display) {
        // There is nowhere to report that standard error is gone.
        writeln!(self.err, "warning: {line}").ok();
    }

    /// Refuses what only root may do. With `--pid` the kernel decides, process by process.
    ///
    /// # Errors
    /// [`ManageExit::NotPermitted`].
    pub(crate) fn needs_root(&self, what: &str, pids: &[i32]) -> Result<(), Error> {
        if self.owner.uid == 0 || !pids.is_empty() {
            return Ok(());
        }
        Err(Error::new(ManageExit::NotPermitted, what, "only root may do this for the whole system")
            .hint("run it as root, or name your own processes with --pid"))
    }
}
