//! Load on a redis server: clients that check every answer and never reconnect.

use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::run::Cmd;

/// A connection that speaks RESP, the redis protocol.
#[derive(Debug)]
pub struct Redis {
    stream: BufReader<TcpStream>,
}

impl Redis {
    /// Connects to a port of the loopback address.
    ///
    /// # Errors
    /// Nothing listens there.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Does it answer those who give no password?
    pub fn is_open(&mut self) -> bool {
        self.command(&["PING"]).is_ok()
    }

    /// Sends a command and returns the reply: a simple string, a number or a bulk string; an error reply is
    /// an error.
    ///
    /// # Errors
    /// The connection is broken, or the server answers with an error.
    pub fn command(&mut self, words: &[&str]) -> Result<String> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "connection closed after {words:?}");
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("empty reply")?;
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "$" => {
                let size: i64 = rest.parse()?;
                let Ok(size) = usize::try_from(size) else { return Ok("(nil)".into()) };
                let mut bytes = vec![0; size + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(size);
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => anyhow::bail!("{words:?}: reply {line:?}"),
        }
    }
}

/// Clients under way, and redis-benchmark beside them.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<()>>>,
    benchmark: Child,
}

impl Load {
    /// Starts `clients` checking clients, and the package's redis-benchmark with 20 more in an endless loop.
    ///
    /// # Errors
    /// A program cannot be started.
    pub fn start(root: &Path, port: u16, clients: usize, log: &Path) -> Result<Self> {
        let benchmark = Cmd::new(root.join("usr/bin/redis-benchmark"))
            .args(["-p", &port.to_string(), "-c", "20", "-l", "-q", "-t", "set,get,incr,lpush,lpop,hset"])
            .spawn_to(log)?;
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        for number in 0..clients {
            let (stop, done) = (stop.clone(), done.clone());
            let mut redis = Redis::connect(port)?;
            threads.push(std::thread::spawn(move || {
                let counter = format!("load:counter:{number}");
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("load:{number}:{}", count % 100);
                    let value = format!("value-{count}");
                    ensure!(redis.command(&["SET", &key, &value])? == "OK", "SET");
                    let got = redis.command(&["GET", &key])?;
                    ensure!(got == value, "GET {key}: {got} instead of {value}");
                    count += 1;
                    let got = redis.command(&["INCR", &counter])?;
                    ensure!(got == count.to_string(), "INCR {counter}: {got} instead of {count}");
                    done.fetch_add(3, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Ok(Self { stop, done, clients: threads, benchmark })
    }

    /// Waits until `more` further requests have been answered.
    ///
    /// # Errors
    /// That takes more than 30 seconds, or a client has failed.
    pub fn go_on(&self, more: u64) -> Result<()> {
        let goal = self.done.load(Ordering::Relaxed) + more;
        let began = Instant::now();
        while self.done.load(Ordering::Relaxed) < goal {
            ensure!(!self.clients.iter().all(JoinHandle::is_finished), "all clients have ended");
            ensure!(began.elapsed() < Duration::from_secs(30), "the server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops all and returns the number of requests answered, checked ones only.
    ///
    /// # Errors
    /// A request failed: a wrong answer, an error reply, a broken connection, or redis-benchmark gave up.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        if let Some(status) = self.benchmark.try_wait()? {
            anyhow::bail!("redis-benchmark ended before it was told to: {status}");
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.benchmark.kill();
        let _ = self.benchmark.wait();
    }
}

/// Load on a redis that holds keys to be found again.
#[derive(Debug)]
pub struct Kept {
    load: Load,
    client: Redis,
}

/// Keys that nothing of the load touches.
const KEYS: usize = 1000;

impl Kept {
    /// Writes the keys, and starts a load that keeps its log in `dir`.
    ///
    /// # Errors
    /// The server does not answer, or a program cannot be started.
    pub fn start(root: &Path, port: u16, dir: &Path) -> Result<Self> {
        let mut client = Redis::connect(port)?;
        for n in 0..KEYS {
            client.command(&["SET", &format!("kept:{n}"), &format!("before-{n}")])?;
        }
        let load = Load::start(root, port, 4, &dir.join("benchmark.log"))?;
        load.go_on(3000)?;
        Ok(Self { load, client })
    }

    /// See [`Load::go_on`].
    ///
    /// # Errors
    /// See there.
    pub fn go_on(&self, more: u64) -> Result<()> {
        self.load.go_on(more)
    }

    /// Looks for the keys and stops the load. Returns the number of requests answered.
    ///
    /// # Errors
    /// A key is not what it was; and see [`Load::finish`].
    pub fn finish(mut self) -> Result<u64> {
        for n in 0..KEYS {
            let got = self.client.command(&["GET", &format!("kept:{n}")])?;
            ensure!(got == format!("before-{n}"), "kept:{n} is {got}");
        }
        self.load.finish()
    }
}
