//! `testdata/matrix/*.case`: sources before and after in one file.
//!
//! A case file is a YAML header, a line `---`, and files, each after a line `=== NAME`. Of these, a line that
//! starts with `-` is in the original only, one that starts with `+` in the patched source only, any other in
//! both. A file `=== +NAME` is new, `=== -NAME` removed.

use super::variant::{self, Variant};
use crate::paths;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What must come of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The process behaves as the patched program built cold.
    Works,
    /// The same, and standard error holds this text.
    Warning(String),
    /// Exit code 3.
    Nothing,
    /// Exit code 4, and standard error holds this text.
    Refused(String),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Part of the page that it stands in.
    part: String,
    shows: String,
    verdict: String,
    /// For the page: what an author should know.
    #[serde(default)]
    note: String,
    /// Names of the ways to build it, the most telling one first.
    #[serde(default)]
    variants: Vec<String>,
    /// Other verdicts of single variants.
    #[serde(default)]
    unless: BTreeMap<String, String>,
    #[serde(default)]
    flags: String,
    #[serde(default)]
    ldflags: String,
    #[serde(default)]
    libs: String,
    asks: Vec<String>,
    /// Answers to all questions while the patch is active, where the state of the process makes them others
    /// than those of the cold build.
    #[serde(default)]
    after: Vec<String>,
    /// The same when the patch was taken back.
    #[serde(default)]
    back: Vec<String>,
    /// The same when it is active again.
    #[serde(default)]
    again: Vec<String>,
    /// The same of a process that starts while it is active.
    #[serde(default)]
    started: Vec<String>,
    /// Nothing that the program answers shows the change.
    #[serde(default)]
    unseen: bool,
}

/// A case.
#[derive(Debug, Clone)]
pub struct Case {
    /// File stem.
    pub name: String,
    header: Header,
    files: Vec<(String, String)>,
}

impl Case {
    /// All cases of `testdata/matrix`, by name.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for entry in fs::read_dir(paths::testdata("matrix")).context("testdata/matrix")? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "case") {
                cases.push(Self::read(&path).with_context(|| format!("{}", path.display()))?);
            }
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let (header, body) = text.split_once("\n---\n").context("no line `---` after the header")?;
        let header: Header = serde_yaml::from_str(header)?;
        let mut files: Vec<(String, String)> = Vec::new();
        for line in body.lines() {
            if let Some(name) = line.strip_prefix("=== ") {
                files.push((name.trim().to_owned(), String::new()));
            } else {
                let (_, text) = files.last_mut().context("text before the first `=== NAME`")?;
                text.push_str(line);
                text.push('\n');
            }
        }
        let case =
            Self { name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), header, files };
        parse_verdict(&case.header.verdict)?;
        for (name, verdict) in &case.header.unless {
            ensure!(case.header.variants.contains(name), "`unless` names no variant of the case: {name}");
            parse_verdict(verdict)?;
        }
        case.variants()?;
        Ok(case)
    }

    /// The ways to build it, the most telling one first.
    ///
    /// # Errors
    /// There is no variant of a name.
    pub fn variants(&self) -> Result<Vec<Variant>> {
        let names = &self.header.variants;
        if names.is_empty() {
            return variant::USUAL.iter().map(|n| variant::find(n)).collect();
        }
        names.iter().map(|n| variant::find(n)).collect()
    }

    /// What must come of the change when it is built so.
    pub fn verdict(&self, variant: &Variant) -> Verdict {
        let text = self.header.unless.get(variant.name).unwrap_or(&self.header.verdict);
        // Checked when it was read.
        parse_verdict(text).unwrap_or(Verdict::Works)
    }

    /// What comes of it usually.
    pub fn usual_verdict(&self) -> Verdict {
        parse_verdict(&self.header.verdict).unwrap_or(Verdict::Works)
    }

    /// Variants with another verdict.
    pub fn exceptions(&self) -> impl Iterator<Item = (&str, Verdict)> {
        self.header.unless.iter().filter_map(|(n, v)| Some((n.as_str(), parse_verdict(v).ok()?)))
    }

    /// Part of the page.
    pub fn part(&self) -> &str {
        &self.header.part
    }

    /// What it shows, and what an author should know.
    pub fn shows(&self) -> (&str, &str) {
        (&self.header.shows, &self.header.note)
    }

    /// Questions.
    pub fn asks(&self) -> &[String] {
        &self.header.asks
    }

    /// Answers of the process where they are others than those of a program built cold: patched, taken back,
    /// active again.
    pub fn own_answers(&self, phase: usize) -> Option<&[String]> {
        let answers = match phase {
            1 => &self.header.after,
            2 => &self.header.back,
            3 => &self.header.again,
            _ => return None,
        };
        (!answers.is_empty()).then_some(answers.as_slice())
    }

    /// Answers of a process that has started with the patch active, where they are others than those of a
    /// program built cold.
    pub fn answers_started(&self) -> Option<&[String]> {
        (!self.header.started.is_empty()).then_some(self.header.started.as_slice())
    }

    /// Must the answers of the two programs differ?
    pub fn is_seen(&self) -> bool {
        !self.header.unseen
    }

    /// Flags for the compiler, for the linker, libraries.
    pub fn flags(&self) -> (&str, &str, &str) {
        (&self.header.flags, &self.header.ldflags, &self.header.libs)
    }

    /// Writes the sources, original or patched, and what all cases share.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, dir: &Path, patched: bool) -> Result<()> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(paths::testdata("matrix").join("common"))? {
            let path = entry?.path();
            fs::copy(&path, dir.join(path.file_name().unwrap_or_default()))?;
        }
        let (mine, other) = if patched { ('+', '-') } else { ('-', '+') };
        for (name, text) in &self.files {
            if name.starts_with(other) {
                continue;
            }
            let path = dir.join(name.trim_start_matches(mine));
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let lines =
                text.lines().filter(|l| !l.starts_with(other)).map(|l| l.strip_prefix(mine).unwrap_or(l));
            fs::write(path, lines.map(|l| format!("{l}\n")).collect::<String>())?;
        }
        Ok(())
    }
}

fn parse_verdict(text: &str) -> Result<Verdict> {
    Ok(match text.split_once(": ") {
        None if text == "works" => Verdict::Works,
        None if text == "nothing" => Verdict::Nothing,
        Some(("warning", says)) => Verdict::Warning(says.to_owned()),
        Some(("refused", says)) => Verdict::Refused(says.to_owned()),
        _ => bail!("unknown verdict {text:?}"),
    })
}
