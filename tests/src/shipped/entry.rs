//! The list of packages.

use crate::paths::testdata;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A source package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name of the source package.
    pub source: String,
    /// The binary packages with the files to patch, and those that these need to run.
    pub debs: Vec<String>,
    /// Paths of the ELF files to patch; every ELF file of the packages where there are none.
    #[serde(default)]
    pub targets: Vec<String>,
    /// It takes hours, or a lot of room: only when it is asked for by name.
    #[serde(default)]
    pub large: bool,
    /// The patch of `debian/patches` to take off, where it is not the newest that changes code.
    #[serde(default)]
    pub patch: Option<String>,
    /// A fix of our own, where no patch of the package's changes code.
    #[serde(default)]
    pub edit: Option<Edit>,
    /// The build, where it is not the whole package's.
    #[serde(default)]
    pub build: Option<String>,
    /// A driver of `tests/drivers`.
    #[serde(default)]
    pub driver: Option<String>,
    /// Else: starts the service, `$ROOT` being the unpacked packages and `$DIR` a folder of its own (bash,
    /// see `tests/drivers/lib.sh`).
    #[serde(default)]
    pub start: Option<String>,
    /// Makes it work and prints what came of it, the same every time.
    #[serde(default)]
    pub probe: Option<String>,
    /// With the fix it prints something else.
    #[serde(default)]
    pub shows: bool,
    /// The unit to try it in, besides.
    #[serde(default)]
    pub unit: Option<Unit>,
}

/// A service as its package starts it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Name of the unit.
    pub name: String,
    /// What there is to do before it is started (bash, in the container).
    #[serde(default)]
    pub setup: String,
    /// Makes it work and prints what came of it, the same every time (bash, in the container).
    pub probe: String,
}

/// A text in a source file, and another in its place.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file.
    pub file: String,
    /// What is there; the first of several.
    pub from: String,
    /// What is to be there.
    pub to: String,
}

/// All of them.
///
/// # Errors
/// The file cannot be read, or says something unknown.
pub fn entries() -> Result<Vec<Entry>> {
    let path = testdata("shipped").join("packages.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let all: Vec<Entry> = serde_yaml::from_str(&text).context("packages.yaml")?;
    for entry in &all {
        ensure!(!entry.debs.is_empty(), "{}: no debs", entry.source);
        ensure!(
            entry.start.is_some() == entry.probe.is_some(),
            "{}: start and probe go together",
            entry.source
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_read() {
        let all = entries().unwrap();
        assert!(all.len() >= 40, "{}", all.len());
        assert!(all.iter().filter(|e| e.start.is_some()).count() >= 12);
    }
}
