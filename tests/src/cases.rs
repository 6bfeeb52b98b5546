//! `cases.yaml`: what the patches of a package in `testdata/` must do.

use crate::paths;
use anyhow::{Context, Result};
use serde::Deserialize;

/// The cases of one package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// Package name.
    pub package: String,
    /// The daemon, relative to the root.
    pub program: String,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One patch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// File stem of the patch in `patches/`.
    pub name: String,
    /// Exit codes of `upatch-build` that are right.
    #[serde(default = "done")]
    pub build: Vec<i32>,
    /// ELF files of the patch.
    #[serde(default)]
    pub elf: Vec<String>,
    /// Changed functions, exactly; not checked if empty.
    #[serde(default)]
    pub changed: Vec<String>,
    /// Texts on standard error.
    #[serde(default)]
    pub says: Vec<String>,
    /// Answers that depend on nothing but the code.
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// Answers that depend on data.
    #[serde(default)]
    pub keep: Vec<Keep>,
    /// Lines that the daemon's standard output must hold at the end, in this order.
    #[serde(default)]
    pub stdout: Vec<String>,
}

/// A question and its answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The line sent.
    pub ask: String,
    /// Answer of the old code.
    pub before: String,
    /// Answer of the patched process.
    pub after: String,
    /// Answer of the package built with the patch, where it is another one.
    pub cold: Option<String>,
}

/// A question whose answer depends on what was asked before.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The line sent.
    pub ask: String,
    /// Answers before, while the patch is active, and after it was taken back.
    pub answers: [String; 3],
}

impl Cases {
    /// Reads `testdata/PACKAGE/cases.yaml`.
    ///
    /// # Errors
    /// The file cannot be read or has another shape.
    pub fn read(package: &str) -> Result<Self> {
        let path = paths::testdata(package).join("cases.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        serde_yaml::from_str(&text).with_context(|| format!("{}", path.display()))
    }
}

impl Probe {
    /// Answer of the package built with the patch.
    pub fn cold(&self) -> &str {
        self.cold.as_deref().unwrap_or(&self.after)
    }
}

impl Case {
    /// Checks the functions that the report names as changed.
    ///
    /// # Errors
    /// One is missing or too many.
    pub fn check_changed(&self, reported: &[String]) -> Result<()> {
        let is = |name: &str, expected: &str| {
            name == expected || ((name.starts_with("_Z") || name.contains('(')) && name.contains(expected))
        };
        let missing: Vec<_> = self.changed.iter().filter(|e| !reported.iter().any(|n| is(n, e))).collect();
        let spare: Vec<_> = reported.iter().filter(|n| !self.changed.iter().any(|e| is(n, e))).collect();
        anyhow::ensure!(
            missing.is_empty() && spare.is_empty(),
            "changed functions: report.yaml lacks {missing:?} and has {spare:?} too much (all: {reported:?})"
        );
        Ok(())
    }
}

fn done() -> Vec<i32> {
    vec![0]
}
