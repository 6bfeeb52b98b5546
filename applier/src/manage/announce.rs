//! How a command tells the service that the state on disk has changed, and waits until it acts by the new
//! state: a line each way on a socket that only root may use.

use patchfile::paths;
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest wait of a command for the service, and of the service for a command.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// What the command says.
pub(crate) const CHANGED: &[u8] = b"changed\n";
/// What the service answers.
pub(crate) const DONE: &[u8] = b"done\n";

/// Where the service of `root` listens.
pub(crate) fn socket(root: &Path) -> PathBuf {
    root.join(paths::RUN).join("socket")
}

/// Tells the service of `root`, if there is one, that the state has changed. When this returns `true`,
/// processes that start get what the state says. Otherwise there is no service, or it does not answer and
/// will see the change at its next look.
pub(crate) fn tell(root: &Path) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = UnixStream::connect(socket(root))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(CHANGED)?;
        let mut answer = [0; DONE.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer == *DONE)
    };
    ask().unwrap_or(false)
}
