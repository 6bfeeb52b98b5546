//! What the corpus knows of its cases.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// A case in `corpus.yaml`, as far as it is used here.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    /// Case id.
    pub id: String,
    /// Source package.
    pub package: String,
    /// Both builds were made, and functions differ.
    #[serde(default)]
    pub verified: bool,
    /// Functions that differ between the objects of two cold builds; no more than the first dozen.
    #[serde(default)]
    pub functions_changed: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Corpus {
    cases: Vec<Facts>,
}

/// All cases.
///
/// # Errors
/// The file cannot be read.
pub fn read(corpus: &Path) -> Result<Vec<Facts>> {
    let path = corpus.join("corpus.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let corpus: Corpus = serde_yaml::from_str(&text).context("corpus.yaml")?;
    Ok(corpus.cases)
}

impl Facts {
    /// Functions of the cold builds' difference that `named` does not hold. The copies and parts that GCC
    /// makes of a function, `NAME.part.0` or `NAME.cold`, count as the function: which of them there are
    /// hangs on the options of the build.
    pub fn missing_from(&self, named: &[String]) -> Vec<String> {
        let stem = |name: &str| name.split_once('.').map_or(name, |(stem, _)| stem).to_owned();
        let named: Vec<String> = named.iter().map(|n| stem(n)).collect();
        let mut missing: Vec<String> =
            self.functions_changed.iter().filter(|f| !named.contains(&stem(f))).cloned().collect();
        missing.dedup();
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_a_report_leaves_out_are_found() {
        let changed = ["a", "b.part.0", "c.cold"].map(str::to_owned).to_vec();
        let facts = Facts { id: "x".into(), package: "p".into(), verified: true, functions_changed: changed };
        assert_eq!(facts.missing_from(&["a".into(), "c".into()]), ["b.part.0"]);
        assert!(facts.missing_from(&["c".into(), "b.isra.0".into(), "a".into(), "d".into()]).is_empty());
    }
}
