//! Telling the service manager (`sd_notify(3)`): a datagram to the socket named in `NOTIFY_SOCKET`.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt, unix::net::SocketAddr, unix::net::UnixDatagram},
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
