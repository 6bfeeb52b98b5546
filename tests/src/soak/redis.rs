//! A redis that redis-benchmark and checking clients keep busy.

use super::{Subject, once_it_listens};
use crate::corpus::required;
use crate::load::{Kept, Redis};
use crate::paths::testdata;
use crate::programs::upatch_build;
use crate::run::Cmd;
use crate::walk::{BUILD, redis_root, redis_tree};
use anyhow::Result;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;
use tempfile::TempDir;

/// It runs.
#[derive(Debug)]
pub(super) struct Loaded {
    server: Child,
    client: Redis,
    load: Option<Kept>,
    patch: PathBuf,
    _dir: TempDir,
}

/// The redis of the corpus.
const CASE: &str = "redis-CVE-2025-32023";

impl Loaded {
    /// Builds it, makes the patch, and starts it with its load.
    ///
    /// # Errors
    /// One of these fails.
    pub(super) fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("upatch-soak-").tempdir()?;
        let tree = redis_tree(&required()?, CASE, dir.path())?;
        let root = redis_root(&tree, dir.path())?;
        let program = root.join("usr/bin/redis-server");
        upatch_build()?
            .arg("--source")
            .arg(&tree)
            .args(["--build", BUILD, "--name", "SOAK", "--elf", "redis-server", "--patch"])
            .arg(testdata("soak/patches/redis.patch"))
            .arg("--target")
            .arg(&program)
            .arg("--output")
            .arg(dir.path().join("out"))
            .limit(Duration::from_secs(3600))
            .run()?
            .ok()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Cmd::new(program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir.path())
            .spawn_to(&dir.path().join("server.log"))?;
        let client = once_it_listens(|| Redis::connect(port))?;
        let patch = dir.path().join("out/SOAK");
        let mut this = Self { server, client, load: None, patch, _dir: dir };
        this.load = Some(Kept::start(&root, port, this._dir.path())?);
        Ok(this)
    }
}

impl Subject for Loaded {
    fn pid(&self) -> u32 {
        self.server.id()
    }

    fn patch(&self) -> &Path {
        &self.patch
    }

    fn patched(&mut self) -> Result<bool> {
        match self.client.command(&["ECHO", "plain"])?.as_str() {
            "plain" => Ok(false),
            "patched" => Ok(true),
            other => anyhow::bail!("redis echoes {other:?}"),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.load.take().map_or(Ok(0), Kept::finish)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
