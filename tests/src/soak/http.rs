//! A client of HTTP/1.1 that keeps its connection and checks every answer.

use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection.
#[derive(Debug)]
pub(super) struct Http(BufReader<TcpStream>);

/// An answer with status 200.
#[derive(Debug)]
pub(super) struct Answer {
    /// Value of the header `Connection`.
    pub(super) connection: String,
    /// The content.
    pub(super) body: Vec<u8>,
}

impl Http {
    /// Connects to a port of the loopback address.
    ///
    /// # Errors
    /// Nothing listens there.
    pub(super) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks for a page.
    ///
    /// # Errors
    /// The connection is broken, or the status is not 200.
    pub(super) fn get(&mut self, path: &str) -> Result<Answer> {
        self.0.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
        let status = self.line()?;
        ensure!(status == "HTTP/1.1 200 OK", "{path}: {status:?}");
        let (mut size, mut connection) = (None, String::new());
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("Content-Length", value)) => size = Some(value.parse()?),
                Some(("Connection", value)) => value.clone_into(&mut connection),
                Some(_) => {}
                None => {
                    ensure!(line.is_empty(), "{path}: {line:?} among the headers");
                    break;
                }
            }
        }
        let mut body = vec![0; size.context("no Content-Length")?];
        self.0.read_exact(&mut body)?;
        Ok(Answer { connection, body })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "connection closed");
        Ok(line.trim_end_matches("\r\n").to_owned())
    }
}
