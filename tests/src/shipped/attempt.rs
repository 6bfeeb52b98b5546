//! One package, from the archive to a running service.

use super::fetch::{Fetched, fetch};
use super::fix::{Fix, fixes};
use super::serve::serve;
use super::unit::under_unit;
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
    let mut refused = Vec::new();
    for fix in fixes {
        let (made, spent) = make(entry, &fetched, &fix, &targets)?;
        outcome = told(entry, &fetched, &fix, &made, &spent)?;
        outcome.refused.clone_from(&refused);
        if made.ended.code == 0 {
            Cmd::new("cp").arg("-a").args([made.dir(), fetched.place.join("PATCH")]).run()?.ok()?;
            if let Err(error) = serve(entry, &fetched, &made, &mut outcome) {
                outcome.live = "not tried".into();
                outcome.why = format!("{error:#}");
            }
            if let Err(error) = under_unit(entry, &fetched, &mut outcome) {
                outcome.under_unit = format!("not tried: {error:#}");
            }
            break;
        }
        // It changes nothing of what is shipped, or cannot be patched live, which is said: the one before.
        match made.ended.code {
            3 => {}
            4 => refused.push(format!("{}: {}", fix.name, outcome.why)),
            _ => break,
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

/// What making a patch took.
struct Spent {
    /// Processor seconds of `upatch-build` and of all that it ran.
    cpu_seconds: f64,
    /// Peak resident memory of `upatch-build` itself, in kB.
    peak_kb: u64,
}

/// Makes the patch.
fn make(entry: &Entry, fetched: &Fetched, fix: &Fix, targets: &[PathBuf]) -> Result<(Made, Spent)> {
    let output = tempfile::Builder::new().prefix("upatch-out-").tempdir()?;
    // The archive's builders make what depends on the machine apart from the rest, too.
    let build = entry.build.clone().unwrap_or_else(|| "dpkg-buildpackage -B -uc -us".into());
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
        // As the archive's builders have it, less what costs time and changes no program: tests, packages of
        // debug information, compression.
        .env("DEB_BUILD_OPTIONS", "nocheck noautodbgsym parallel=2")
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .env("LC_ALL", "C.UTF-8")
        // Tools that somebody has put before the distribution's would be found by configure scripts.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("GIT_CEILING_DIRECTORIES", cache());
    for target in targets {
        command = command.arg("--target").arg(target);
    }
    let log = fetched.place.join("upatch-build.log");
    let (began, cpu_before) = (Instant::now(), cpu_seconds_of_children()?);
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
    let spent = Spent { cpu_seconds: cpu_seconds_of_children()? - cpu_before, peak_kb: peak };
    Ok((Made { output, name: "PATCH".into(), ended }, spent))
}

/// Processor seconds of all children that have ended and were waited for, and of theirs.
fn cpu_seconds_of_children() -> Result<f64> {
    /// The kernel reports times to programs in hundredths of a second, whatever it counts in.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Fields are counted after the name, which may hold spaces; see proc_pid_stat(5).
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat")?;
    let times = fields.split_whitespace().skip(13).take(2);
    let ticks = times.map(str::parse::<u32>).sum::<Result<u32, _>>().context("/proc/self/stat")?;
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

fn resident_peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn told(entry: &Entry, fetched: &Fetched, fix: &Fix, made: &Made, spent: &Spent) -> Result<Outcome> {
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
        cpu_seconds: spent.cpu_seconds,
        peak_mb: spent.peak_kb / 1024,
        functions: functions.len(),
        why: error.unwrap_or_default().to_owned(),
        ..Outcome::default()
    })
}
