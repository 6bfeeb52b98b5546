//! How a command tells the service that the state on disk has changed, and waits until it acts by the new state: a line each way
//! on a socket that only root may use.

use super::plan::Desk;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use patchfile::paths;
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

/// Longest wait of a command for the service, and of the service for a command.
const PATIENCE: Duration = Duration::from_secs(1);

const CHANGED: &[u8] = b"changed\n";
const DONE: &[u8] = b"done\n";

fn path(root: &Path) -> PathBuf {
    root.join(paths::RUN).join("socket")
}

/// Tells the service of `root`, if there is one, that the state has changed. When this returns `true`, processes that start get what
/// the state says. Otherwise there is no service, or it does not answer and will see the change at its next look.
pub fn tell(root: &Path) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = UnixStream::connect(path(root))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(CHANGED)?;
        let mut answer = [0; DONE.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer == *DONE)
    };
    ask().unwrap_or(false)
}

/// Listens. The socket of a service that was killed is replaced.
///
/// # Errors
/// The socket cannot be made.
pub(super) fn listen(desk: Arc<Desk>) -> io::Result<()> {
    let path = path(&desk.root);
    // Made under another name, so that nobody connects before its mode is right.
    let scratch = path.with_extension(format!("{}", std::process::id()));
    match fs::remove_file(&scratch) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&scratch)?;
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600))?;
    fs::rename(&scratch, &path)?;
    thread::Builder::new().name("upatch-socket".into()).spawn(move || {
        for stream in listener.incoming() {
            match stream.and_then(|s| answer(s, &desk)) {
                Ok(()) => {}
                // The other side went away, or has no business here.
                Err(error) => desk.tell(format_args!("socket: {error}")),
            }
        }
    })?;
    Ok(())
}

fn answer(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let peer = getsockopt(&stream, PeerCredentials)?;
    if peer.uid() != 0 {
        let (pid, uid) = (peer.pid(), peer.uid());
        return Err(io::Error::other(format!("process {pid} of user {uid} was turned away")));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0; CHANGED.len()];
    // Who only connects, to see whether somebody listens, has not asked for anything.
    if stream.read_exact(&mut request).is_err() || request != *CHANGED {
        return Ok(());
    }
    desk.reload()?;
    stream.write_all(DONE)
}
