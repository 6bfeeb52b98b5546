//! The sources of a case on disk, built cold before and after the change, and the live patch for them.

use super::case::Case;
use super::variant::{Kind, Variant};
use crate::programs::{Made, upatch_build};
use crate::run::Cmd;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Two trees, built.
#[derive(Debug)]
pub struct Scene {
    top: TempDir,
    command: String,
}

impl Scene {
    /// Writes and builds both trees.
    ///
    /// # Errors
    /// One does not build, or there is no difference.
    pub fn build(case: &Case, variant: &Variant) -> Result<Self> {
        let top = tempfile::Builder::new().prefix("upatch-matrix-").tempdir()?;
        let (flags, ldflags, libs) = case.flags();
        let kind = match variant.kind {
            Kind::Program => "program",
            Kind::Library => "library",
        };
        let Variant { cc, cxx, flags: own, ldflags: own_ld, .. } = variant;
        let command = format!(
            "CC={cc} CXX={cxx} CFLAGS='{own} {flags}' LDFLAGS='{own_ld} {ldflags}' LIBS='{libs}' KIND={kind} \
             sh -e build.sh"
        );
        let scene = Self { top, command };
        for (name, patched) in [("a", false), ("b", true)] {
            case.write(&scene.tree(name), patched)?;
        }
        let diff =
            Cmd::new("diff").args(["-Naur", "a", "b"]).dir(scene.top.path()).run()?.expect_code(&[1])?;
        fs::write(scene.patch(), diff.stdout)?;
        for name in ["a", "b"] {
            Cmd::new("sh")
                .args(["-e", "-c", &scene.command])
                .dir(scene.tree(name))
                .limit(Duration::from_secs(60))
                .run()?
                .ok()
                .with_context(|| format!("{name} does not build"))?;
            ensure!(scene.program(name).is_file(), "the build of {name} gives no `prog`");
        }
        Ok(scene)
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn patch(&self) -> PathBuf {
        self.top.path().join("fix.patch")
    }

    /// The program of tree `a` (original) or `b` (patched).
    pub fn program(&self, name: &str) -> PathBuf {
        self.tree(name).join("prog")
    }

    /// Makes the live patch for what was built in `a`.
    ///
    /// # Errors
    /// `upatch-build` does not end; any exit code of it is fine.
    pub fn make_patch(&self, case: &Case, variant: &Variant) -> Result<Made> {
        let output = tempfile::Builder::new().prefix("upatch-out-").tempdir()?;
        let mut build = upatch_build()?.arg("--source").arg(self.tree("a")).args(["--build", &self.command]);
        build = build.arg("--patch").arg(self.patch()).arg("--target").arg(self.program("a"));
        for entry in fs::read_dir(self.tree("a"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "so") {
                build = build.arg("--target").arg(path);
            }
        }
        let name = format!("{}_{}", case.name, variant.name).replace('-', "_");
        let ended = build
            .args(["--name", &name, "--output"])
            .arg(output.path())
            .limit(Duration::from_secs(120))
            .run()?;
        Ok(Made { output, name, ended })
    }
}
