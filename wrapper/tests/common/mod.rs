//! Shared by the integration tests: a session in a scratch directory, and commands run with and without it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wrapper::{Config, Records, Session};

pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_upatch-cc");

/// A session and a build directory that live as long as the value.
pub(crate) struct Lab {
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) session: Session,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with_store(None)
    }

    pub(crate) fn with_store(store: Option<&Path>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = Config::new(Path::new(EXE));
        config.store = store.map(Path::to_path_buf);
        let session = Session::create(&scratch.path().join("session"), &config).unwrap();
        std::fs::create_dir(scratch.path().join("build")).unwrap();
        Self { scratch, session }
    }

    pub(crate) fn build(&self) -> PathBuf {
        self.scratch.path().join("build")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.build().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Lets file times grow older than the recorder's tolerance.
    pub(crate) fn settle(&self) {
        std::thread::sleep(std::time::Duration::from_millis(30));
    }

    pub(crate) fn sh(&self, script: &str) -> Output {
        shell(&self.build(), script, &self.session.env())
    }

    /// Runs a script that must succeed.
    pub(crate) fn ok(&self, script: &str) -> Output {
        let output = self.sh(script);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    pub(crate) fn records(&self) -> Records {
        self.session.records(self.session.phase()).unwrap()
    }

    pub(crate) fn object(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.build().join(name)).unwrap()
    }
}

pub(crate) fn shell(dir: &Path, script: &str, env: &[(OsString, OsString)]) -> Output {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .current_dir(dir)
        .env("PWD", dir)
        .envs(env.iter().cloned())
        .output()
        .unwrap()
}
