//! Applies what was made, by `upatch`.

use crate::error::{Context, DevelopError, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is wanted of `report.yaml`.
#[derive(Deserialize)]
struct ReportFile {
    patch: ReportPatch,
}

#[derive(Deserialize)]
struct ReportPatch {
    name: String,
}

/// Applies the patch that the last run left in `output` to these processes.
///
/// # Errors
/// When there is no `upatch`, or it does not end with 0 for one of them. What it says goes to the terminal.
pub(super) fn apply(output: &Path, pids: &[i32]) -> Result<()> {
    let report = output.join("report.yaml");
    let text = std::fs::read_to_string(&report).at(&report)?;
    let ReportFile { patch } = serde_yaml::from_str(&text).at(&report)?;
    let upatch = program()?;
    let mut failed = Vec::new();
    for pid in pids {
        let mut command = Command::new(&upatch);
        command.args(["apply", "--pid", &pid.to_string()]).arg(output.join(&patch.name));
        let status = command.status().at(&upatch)?;
        if !status.success() {
            failed.push((*pid, status.code()));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(DevelopError::NotApplied(failed).into()) }
}

/// `upatch` beside this program, else on the `PATH`.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().what("own executable")?;
    let beside = own.parent().unwrap_or(Path::new("/")).join("upatch");
    if beside.is_file() {
        return Ok(beside);
    }
    which::which("upatch").map_err(|_| DevelopError::NoUpatch { beside }.into())
}
