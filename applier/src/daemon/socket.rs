//! Commands tell the service that the state on disk has changed ([`manage::tell`]); this is the end of the
//! service.

use super::plan::{Shared, lock};
use crate::manage::{self, CHANGED, DONE, PATIENCE};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Most clients that are answered side by side.
const AT_ONCE: usize = 64;
/// Between two tries where no connection can be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// Listens. The socket of a service that was killed is replaced.
///
/// # Errors
/// The socket cannot be made.
pub(super) fn listen(shared: Arc<Shared>) -> io::Result<()> {
    let path = manage::socket(&shared.root);
    // Made under another name, so that nobody connects before its mode is right.
    let scratch = path.with_extension(format!("{}", std::process::id()));
    match fs::remove_file(&scratch) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&scratch)?;
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600))?;
    fs::rename(&scratch, &path)?;
    let answering = Arc::new(Answering::default());
    thread::Builder::new().name("upatch-socket".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // No file descriptor or memory left: whoever waits is still there a moment later.
                thread::sleep(PAUSE);
                continue;
            };
            serve(stream, &shared, &answering);
        }
    })?;
    Ok(())
}

/// What those share that answer.
#[derive(Debug, Default)]
struct Answering {
    /// How many answer.
    at_work: AtomicUsize,
    /// Who reads the state last has the last word on what is planned.
    reading: Mutex<()>,
}

/// Each client is answered by a thread of its own, so a client that says nothing holds nobody up. Only where
/// there are very many they wait for each other.
fn serve(stream: UnixStream, shared: &Arc<Shared>, answering: &Arc<Answering>) {
    let many = answering.at_work.fetch_add(1, Ordering::Relaxed) >= AT_ONCE;
    let at_work = &answering.at_work;
    let (shared, answering) = (Arc::clone(shared), Arc::clone(answering));
    let work = move || {
        // The client went away, or has no business here.
        if let Err(error) = answer(stream, &shared, &answering.reading) {
            shared.tell(format_args!("socket: {error}"));
        }
        answering.at_work.fetch_sub(1, Ordering::Relaxed);
    };
    if many {
        work();
    } else {
        let spawned = thread::Builder::new().name("upatch-answer".into()).spawn(work);
        // The client gets no answer, and acts as it does without a service.
        if spawned.is_err() {
            at_work.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn answer(mut stream: UnixStream, shared: &Shared, reading: &Mutex<()>) -> io::Result<()> {
    let peer = getsockopt(&stream, PeerCredentials)?;
    if peer.uid() != 0 {
        let (pid, uid) = (peer.pid(), peer.uid());
        return Err(io::Error::other(format!("process {pid} of user {uid} was turned away")));
    }
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0; CHANGED.len()];
    // Who only connects, to see whether somebody listens, has not asked for anything.
    if read_in_time(&mut stream, &mut request).is_err() || request != *CHANGED {
        return Ok(());
    }
    let _reading = lock(reading);
    shared.reload()?;
    stream.write_all(DONE)
}

/// Fills `request`, within [`PATIENCE`] as a whole: others wait for their turn.
fn read_in_time(stream: &mut UnixStream, request: &mut [u8]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut len = 0;
    while len < request.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut request[len..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => len += got,
        }
    }
    Ok(())
}
