//! An nginx that wrk and checking clients keep busy.

use super::http::Http;
use super::{Subject, once_it_listens};
use crate::paths::testdata;
use crate::programs::patch_by_build;
use crate::run::Cmd;
use anyhow::{Context, Result, ensure};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// It runs.
#[derive(Debug)]
pub(super) struct Loaded {
    server: Child,
    worker: u32,
    client: Http,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<()>>>,
    wrk: Child,
    wrk_log: PathBuf,
    patch: PathBuf,
    _dir: TempDir,
}

/// Without what needs further libraries.
const BUILD: &str =
    "test -f Makefile || ./configure --without-http_rewrite_module --without-http_gzip_module && make -j2";

/// Content of the page.
const PAGE: &str = "a page that is always the same\n";

impl Loaded {
    /// Builds it, makes the patch, and starts it with its load.
    ///
    /// # Errors
    /// One of these fails.
    pub(super) fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("upatch-soak-").tempdir()?;
        Cmd::new("apt-get")
            .args(["source", "-q", "--download-only", "--tar-only", "nginx"])
            .dir(dir.path())
            .run()?
            .ok()
            .context(
                "the source of nginx comes from Debian; scripts/setup --soak makes the deb-src entries",
            )?;
        let tree = dir.path().join("nginx");
        std::fs::create_dir(&tree)?;
        let unpack = "tar --strip-components=1 -xf nginx_*.orig.tar.* -C nginx";
        Cmd::new("sh").args(["-c", unpack]).dir(dir.path()).run()?.ok()?;
        let fix = testdata("soak/patches/nginx.patch");
        let (program, patch) = patch_by_build(dir.path(), &tree, BUILD, "objs/nginx", &fix)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let run = dir.path().join("run");
        std::fs::create_dir_all(run.join("logs"))?;
        std::fs::create_dir(run.join("html"))?;
        std::fs::write(run.join("html/index.html"), PAGE)?;
        std::fs::write(run.join("nginx.conf"), configuration(port))?;
        let server = Cmd::new(program)
            .arg("-p")
            .arg(&run)
            .args(["-c", "nginx.conf"])
            .spawn_to(&dir.path().join("server.log"))?;
        let client = once_it_listens(|| Http::connect(port))?;
        let wrk_log = dir.path().join("wrk.log");
        let wrk = Cmd::new("wrk")
            .args(["-t2", "-c20", "-d24h", &format!("http://127.0.0.1:{port}/index.html")])
            .spawn_to(&wrk_log)
            .context("scripts/setup --soak installs it")?;
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = Vec::new();
        for _ in 0..2 {
            let (stop, done, mut client) = (stop.clone(), done.clone(), Http::connect(port)?);
            clients.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get("/index.html")?;
                    ensure!(answer.body == PAGE.as_bytes(), "another page: {:?}", answer.body);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        let worker = only_child(server.id())?;
        Ok(Self { server, worker, client, stop, done, clients, wrk, wrk_log, patch, _dir: dir })
    }
}

/// One worker, so that it is known whose memory is watched; it closes no connection.
fn configuration(port: u16) -> String {
    format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log logs/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1d;\n\
         server {{ listen 127.0.0.1:{port}; root html; }} }}\n"
    )
}

fn only_child(pid: u32) -> Result<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children.split_whitespace().next().context("nginx has no worker")?.parse().context("pid")
}

impl Subject for Loaded {
    fn pid(&self) -> u32 {
        self.worker
    }

    fn patch(&self) -> &Path {
        &self.patch
    }

    fn patched(&mut self) -> Result<bool> {
        let answer = self.client.get("/index.html")?;
        ensure!(answer.body == PAGE.as_bytes(), "another page: {:?}", answer.body);
        ensure!(only_child(self.server.id())? == self.worker, "the worker has died");
        match answer.connection.as_str() {
            "keep-alive" => Ok(false),
            "Keep-Alive" => Ok(true),
            other => anyhow::bail!("Connection: {other:?}"),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for client in std::mem::take(&mut self.clients) {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        ensure!(self.wrk.try_wait()?.is_none(), "wrk ended before it was told to");
        crate::run::signal(self.wrk.id(), "INT")?;
        self.wrk.wait()?;
        // `N requests in TIME, SIZE read`, and lines about errors only where there were some.
        let log = std::fs::read_to_string(&self.wrk_log)?;
        ensure!(!log.contains("Socket errors") && !log.contains("Non-2xx"), "wrk says\n{log}");
        let line = log.lines().find(|l| l.contains(" requests in ")).context("wrk says nothing")?;
        let requests: u64 = line.split_whitespace().next().context("count")?.parse()?;
        Ok(self.done.load(Ordering::Relaxed) + requests)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.wrk.kill();
        let _ = self.wrk.wait();
        let _ = crate::run::signal(self.server.id(), "TERM");
        let _ = self.server.wait();
    }
}
