//! `report.yaml`: written after every run, also a failed one.

use crate::error::{Context, Result, Words};
use crate::target::Fidelity;
use patchfile::manifest::is_safe_name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The whole report.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Version of this format.
    pub format: Format,
    /// Version of the program.
    pub version: &'static str,
    /// Exit code.
    pub exit: u8,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// `name-version-release` of the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<PatchReport>,
    /// One entry per ELF file that the change reaches.
    pub elfs: Vec<ElfReport>,
    /// The worst of the ELF files' fidelities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
    /// The path that the builds had, if it is the target's and not the scratch directory's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_at: Option<PathBuf>,
    /// Seconds of processor time that the original build once took, if it came out of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<f64>,
    /// The compilation units.
    pub units: UnitsReport,
    /// Warnings of no ELF file in particular.
    pub warnings: Vec<Warned>,
    /// What could not be recorded, `what: why`.
    pub problems: Vec<String>,
    /// Seconds by phase.
    pub seconds: BTreeMap<String, f64>,
    /// Seconds of processor time by phase, of all programs that were run.
    pub cpu: BTreeMap<String, f64>,
    /// Files written, relative to the output directory.
    pub files: Vec<String>,
}

/// Version of the format of `report.yaml`: another one where a key means something else. Keys may be added.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Format(u32);

impl Default for Format {
    fn default() -> Self {
        Self(1)
    }
}

/// A failure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ErrorReport {
    /// What could not be done.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do.
    pub hints: Vec<String>,
    /// The build's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

/// The patch.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PatchReport {
    /// Its name.
    pub name: String,
    /// Version and release of its package.
    pub version: String,
    /// Identity; absent if none was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// CVE ids.
    pub cve: Vec<String>,
    /// One line.
    pub description: String,
    /// Files of the fix that contribute nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_effect: Vec<WithoutEffect>,
    /// Source files that the fix changes.
    pub files: Vec<String>,
    /// Units of which a debugger is told the functions' names only, `file: unit: why`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_debug: Vec<String>,
}

/// A file of the fix that leads to nothing in the patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct WithoutEffect {
    /// Its name.
    pub file: String,
    /// CVE ids that only these files name. The patch does not claim to fix them.
    pub cve: Vec<String>,
}

/// The compilation units of both builds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct UnitsReport {
    /// Units recorded in the original build.
    pub recorded: usize,
    /// Units compiled, both builds and the extra ones for the comparison.
    pub compiled: usize,
    /// Units taken from the store.
    pub reused: usize,
    /// Units whose object the fix changes.
    pub touched: usize,
}

/// The files that both builds linked, held against each other.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct LedgerReport {
    /// Functions and data that are the same.
    pub same: usize,
    /// How many of those only lie elsewhere.
    pub moved: usize,
    /// What differs: in the patch, or why it is not.
    pub differs: Vec<LedgerEntry>,
}

/// One difference.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LedgerEntry {
    /// Function or datum.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Where it went.
    pub why: String,
}

/// One ELF file.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ElfReport {
    /// File name.
    pub name: String,
    /// Where it is installed.
    pub path: String,
    /// Where else the same file is installed: hard links and copies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Its build-id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// How well the rebuild matches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
    /// What differs between rebuild and target.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub difference: String,
    /// The likely causes of the difference, if the file does not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What of that the patch was proven not to depend on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// Functions and objects that are replaced.
    pub changed: Vec<String>,
    /// Functions and objects that are added.
    pub new: Vec<String>,
    /// Functions and objects that are gone.
    pub removed: Vec<String>,
    /// Every difference between the files that both builds linked, and how it is accounted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerReport>,
    /// Why it cannot be patched.
    pub refused: Vec<Refused>,
    /// What to look at.
    pub warnings: Vec<Warned>,
    /// Each change with its reasons.
    pub details: Vec<Detail>,
}

/// One refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    /// What was met.
    pub what: String,
    /// Symbol and source file.
    #[serde(rename = "where")]
    pub place: String,
    /// Why it is not safe.
    pub why: String,
    /// What to do.
    pub remedy: String,
    /// Where the source declares the symbol, `file:line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The refusal that this one comes from, `what: where`. Without it this one is gone too.
    #[serde(rename = "follows_from", skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
}

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Warned {
    /// What was met.
    pub what: String,
    /// Symbol and source file.
    #[serde(rename = "where")]
    pub place: String,
    /// What it may lead to.
    pub why: String,
}

/// One change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Detail {
    /// Symbol.
    pub name: String,
    /// `function` or `object`.
    pub kind: &'static str,
    /// `changed`, `new`, `removed`.
    pub change: differ::ChangeKind,
    /// Source file.
    pub unit: String,
    /// In words.
    pub reasons: Vec<String>,
    /// Functions inlined in it that the fix changes, with their places: why it is inlined in though its own
    /// source may be the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inlines: Vec<String>,
}

impl Detail {
    /// One line for people: what happens to the symbol, and the first reason.
    pub(crate) fn explain(&self) -> String {
        let change = match self.change {
            differ::ChangeKind::Changed => "changed",
            differ::ChangeKind::New => "new",
            differ::ChangeKind::Removed => "removed",
        };
        let mut text = format!("{change} {} {} ({})", self.kind, self.name, self.unit);
        let mut reasons = Vec::new();
        if !self.inlines.is_empty() {
            reasons.push(format!("inlines {}, which the fix changes", self.inlines.join(", ")));
        }
        reasons.extend(self.reasons.first().cloned());
        if self.reasons.len() > 1 {
            reasons.push(format!("and {} more in report.yaml", self.reasons.len() - 1));
        }
        if !reasons.is_empty() {
            text = format!("{text}: {}", reasons.join("; "));
        }
        text
    }
}

impl From<&differ::Refusal> for Refused {
    fn from(r: &differ::Refusal) -> Self {
        let (what, place) = (r.what.clone(), r.place.clone());
        Self { what, place, why: r.why.clone(), remedy: r.remedy.clone(), ..Self::default() }
    }
}

impl From<&differ::Warning> for Warned {
    fn from(w: &differ::Warning) -> Self {
        Self { what: w.what.clone(), place: w.place.clone(), why: w.why.clone() }
    }
}

impl Report {
    /// Takes in how the run ended.
    pub(crate) fn end(&mut self, error: Option<&Words>) {
        self.exit = error.map_or(0, |e| e.exit as u8);
        self.error = error.map(|e| ErrorReport {
            what: e.what.clone(),
            why: e.why.clone(),
            hints: e.hints.clone(),
            log: e.log.clone(),
        });
    }

    /// Writes it to `dir`, under a temporary name first.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join("report.yaml");
        let text = serde_yaml::to_string(self).writing(&path)?;
        std::fs::create_dir_all(dir).writing(&path)?;
        self.keep_other(&path)?;
        let mut file = tempfile::Builder::new().prefix(".report-").tempfile_in(dir).writing(&path)?;
        file.write_all(text.as_bytes()).writing(&path)?;
        readable(file.path())?;
        file.persist(&path).writing(&path)?;
        Ok(())
    }
}

impl Report {
    /// Gives the report of another patch, which an earlier run left at `path`, the name of its patch:
    /// `report-NAME.yaml`.
    fn keep_other(&self, path: &Path) -> Result<()> {
        #[derive(Deserialize)]
        struct Earlier {
            patch: Named,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let Ok(Earlier { patch: Named { name } }) = serde_yaml::from_str(&text) else { return Ok(()) };
        let own = self.patch.as_ref().map(|patch| &patch.name);
        if own == Some(&name) || !is_safe_name(&name) {
            return Ok(());
        }
        std::fs::rename(path, path.with_file_name(format!("report-{name}.yaml"))).writing(path)
    }
}

/// Temporary files are made for their owner alone; results are for everyone, as the umask says.
pub(super) fn readable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).at(path)
}
