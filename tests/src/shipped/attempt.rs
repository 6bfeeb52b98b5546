//! One package, from the archive to a running service.

use super::fetch::{Fetched, fetch};
use super::fix::{Fix, fixes};
use super::serve::serve;
use super::{Entry, Outcome, cache};
use crate::package::files_below;
use crate::programs::Made;
use crate::run::{Cmd, Ended};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Nothing takes longer than this, not even the largest.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Makes a patch for the files that the archive has, and tries it.
///
/// # Errors
/// What could not be tried at all.
pub fn attempt(entry: &Entry) -> Result<Outcome> {
    let fetched = fetch(entry)?;
    let fixes = fixes(entry, &fetched)?;
    ensure!(!fixes.is_empty(), "no patch of it changes code and can be taken off");
    let targets = targets(entry, &fetched.root)?;
    let mut outcome = Outcome::default();
    for fix in fixes {
        let (made, peak_kb) = make(entry, &fetched, &fix, &targets)?;
        outcome = told(entry, &fetched, &fix, &made, peak_kb)?;
        if made.ended.code == 0 {
            if let Err(error) = serve(entry, &fetched, &made, &mut outcome) {
                outcome.live = "not tried".into();
                outcome.why = format!("{error:#}");
            }
            break;
        }
        // It changes nothing of what is shipped: the one before.
        if made.ended.code != 3 {
            break;
        }
    }
    Ok(outcome)
}

/// The ELF files to patch.
fn targets(entry: &Entry, root: &Path) -> Result<Vec<PathBuf>> {
    if !entry.targets.is_empty() {
        return Ok(entry.targets.iter().map(|t| root.join(t)).collect());
    }
    let is_elf = |path: &PathBuf| {
        let object = path.extension().is_some_and(|e| e == "o" || e == "a");
        !object && !path.is_symlink() && std::fs::read(path).is_ok_and(|d| d.starts_with(b"\x7fELF"))
    };
    let found: Vec<PathBuf> = files_below(root)?.into_iter().filter(is_elf).collect();
    ensure!(!found.is_empty(), "the packages hold no ELF file");
    Ok(found)
}

/// Makes the patch; with the peak of its resident memory in kB.
fn make(entry: &Entry, fetched: &Fetched, fix: &Fix, targets: &[PathBuf]) -> Result<(Made, u64)> {
    let output = tempfile::Builder::new().prefix("upatch-out-").tempdir()?;
    let build = entry.build.clone().unwrap_or_else(|| "dpkg-buildpackage -b -uc -us".into());
    let mut command = Cmd::new("nice")
        .args(["-n", "10"])
        .arg(crate::paths::program("upatch-build")?)
        .arg("--source")
        .arg(&fetched.source)
        .args(["--build", &build, "--name", "PATCH", "-j", "2", "--patch"])
        .arg(&fix.file)
        .arg("--output")
        .arg(output.path())
        .arg("--cache")
        .arg(cache().join("units").join(&entry.source))
        // As the archive's builders have it.
        .env("DEB_BUILD_OPTIONS", "nocheck parallel=2")
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CEILING_DIRECTORIES", cache());
    for target in targets {
        command = command.arg("--target").arg(target);
    }
    let log = fetched.place.join("upatch-build.log");
    let began = Instant::now();
    let mut child = command.spawn_to(&log)?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = peak.max(resident_peak(child.id()).unwrap_or(0));
        if began.elapsed() > LIMIT {
            crate::run::signal(child.id(), "TERM")?;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    let stderr = std::fs::read_to_string(&log)?;
    let code = status.code().unwrap_or(-1);
    let ended = Ended { line: build, code, stdout: String::new(), stderr, took: began.elapsed() };
    Ok((Made { output, name: "PATCH".into(), ended }, peak))
}

fn resident_peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn told(entry: &Entry, fetched: &Fetched, fix: &Fix, made: &Made, peak_kb: u64) -> Result<Outcome> {
    let report = made.report()?;
    let text = |key: &str| report.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let mut functions = made.reported("changed")?;
    functions.extend(made.reported("new")?);
    let error = made.ended.stderr.lines().find_map(|l| l.strip_prefix("error: "));
    std::fs::copy(made.output.path().join("report.yaml"), fetched.place.join("report.yaml"))
        .context("report")?;
    Ok(Outcome {
        source: entry.source.clone(),
        version: fetched.version.clone(),
        fix: fix.name.clone(),
        code: Some(made.ended.code),
        fidelity: text("fidelity"),
        built_at: text("built_at"),
        seconds: made.ended.took.as_secs_f64(),
        peak_mb: peak_kb / 1024,
        functions: functions.len(),
        why: error.unwrap_or_default().to_owned(),
        ..Outcome::default()
    })
}
