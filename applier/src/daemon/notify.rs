//! Telling the service manager (`sd_notify(3)`): a datagram to the socket named in `NOTIFY_SOCKET`.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt, unix::net::SocketAddr, unix::net::UnixDatagram},
    time::Duration,
};

/// Sends `message` (`READY=1`, `STOPPING=1`) if a service manager listens.
///
/// # Errors
/// The socket named is not usable.
pub(super) fn notify(message: &str) -> io::Result<()> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(name) if !name.is_empty() => send(&name, message),
        _ => Ok(()),
    }
}

/// The service manager's watchdog (`WatchdogSec=`).
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Half of the time after which it acts.
    half: Duration,
    /// How often events had been waited for when that was looked at last.
    seen: Option<u64>,
}

impl Watchdog {
    /// The time between two signs of life that the service manager asks for, if it does.
    pub(super) fn from_environment() -> Option<Self> {
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let time = Duration::from_micros(number("WATCHDOG_USEC").filter(|_| meant)?);
        Some(Self { half: time / 2, seen: None })
    }

    /// How long to wait for the next beat, if nothing else asks for less.
    pub(super) fn interval(&self, wanted: Duration) -> Duration {
        wanted.min(self.half)
    }

    /// All is well, if `rounds` (how often events were waited for, where they are) has moved on.
    pub(super) fn beat(&mut self, rounds: Option<u64>) {
        if rounds.is_none() || rounds != self.seen {
            notify("WATCHDOG=1").ok();
        }
        self.seen = rounds;
    }
}

fn send(name: &OsStr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(rest) => SocketAddr::from_abstract_name(rest)?,
        None => SocketAddr::from_pathname(name)?,
    };
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_the_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 32];
        let n = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1");
    }
}
