//! What making a patch costs against a plain build of the package: processor seconds of all processes, by
//! phase, divided by those of one `rpmbuild -bc` in the same run.
//!
//! Each package is built three times with a store that is empty at first: *cold*, once more with the same fix
//! (*same*), and with another fix of the same sources (*other*).

use crate::corpus::lay_out;
use crate::package::files_below;
use crate::paths::program;
use crate::run::{Cmd, children_cpu_seconds};
use anyhow::{Context, Result};
use serde_yaml::Value;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A case of the corpus, and one whose fix applies to the same sources.
const PAIRS: &[(&str, &str)] = &[
    ("giflib-CVE-2026-23868", "giflib-CVE-2026-26740"),
    ("cjson-CVE-2023-50471", "cjson-CVE-2025-57052"),
    ("less-CVE-2022-48624", "less-CVE-2024-32487"),
    ("libpng1.6-CVE-2025-64505", "libpng1.6-CVE-2025-64506"),
    ("jq-CVE-2026-33947", "jq-CVE-2026-33948"),
    ("libsndfile-CVE-2022-33065", "libsndfile-CVE-2024-50612"),
    ("libssh-CVE-2025-4877", "libssh-CVE-2025-5318"),
    ("openssh-CVE-2025-61984", "openssh-CVE-2025-61985"),
    ("rsync-CVE-2024-12085", "rsync-CVE-2024-12086-1"),
    ("redis-CVE-2025-32023", "redis-CVE-2025-48367"),
];

/// The phases of a run, as `report.yaml` names them.
const PHASES: [&str; 6] = ["prepare", "original-build", "patched-build", "compare", "link", "package"];
const LIMIT: Duration = Duration::from_secs(3600);

/// What one run of `upatch-build` took.
struct Cost {
    code: i32,
    cpu: f64,
    phases: [f64; 6],
    compiled: u64,
    reused: u64,
}

/// The costs of one package.
struct Row {
    id: String,
    plain: [f64; 2],
    runs: Vec<(&'static str, Cost)>,
}

/// The table of the packages that `UPATCH_BENCH_CASE` names, else of all.
///
/// # Errors
/// A package does not build, or a patch cannot be made at all.
pub fn table(corpus: &Path) -> Result<String> {
    let named = std::env::var("UPATCH_BENCH_CASE").unwrap_or_default();
    let named: Vec<&str> = named.split_whitespace().collect();
    let wanted = |id: &str| named.is_empty() || named.iter().any(|name| id.starts_with(name));
    let mut text =
        String::from("making a patch: processor seconds of all processes; ratio to rpmbuild -bc\n");
    write!(text, "{:<26} {:<12} {:>8} {:>6} {:>5}", "", "", "CPU s", "ratio", "exit")?;
    PHASES.iter().try_for_each(|phase| write!(text, " {:>9}", phase.split('-').next().unwrap_or(phase)))?;
    writeln!(text, " {:>8} {:>6}", "compiled", "reused")?;
    let mut rows = Vec::new();
    for (id, other) in PAIRS.iter().filter(|(id, _)| wanted(id)) {
        let row = measured(corpus, id, other).with_context(|| (*id).to_owned())?;
        // A long run shows what it has.
        eprint!("{row}");
        write!(text, "{row}")?;
        rows.push(row);
    }
    for (number, what) in ["cold", "same fix again", "another fix"].into_iter().enumerate() {
        let mut ratios: Vec<f64> =
            rows.iter().filter_map(|row| Some(row.ratio(&row.runs.get(number)?.1))).collect();
        ratios.sort_by(f64::total_cmp);
        if let Some(median) = ratios.get(ratios.len() / 2) {
            writeln!(text, "median of {} packages, {what}: {median:.2}", ratios.len())?;
        }
    }
    Ok(text)
}

fn measured(corpus: &Path, id: &str, other: &str) -> Result<Row> {
    let (top, spec) = lay_out(corpus, id, &[])?;
    let (another, _) = lay_out(corpus, other, &[])?;
    let scratch = tempfile::tempdir()?;
    let plain = |stage: &str| -> Result<f64> {
        let define = format!("_topdir {}", top.path().display());
        let before = children_cpu_seconds()?;
        Cmd::new("rpmbuild").args(["--define", &define, stage]).arg(&spec).limit(LIMIT).run()?.ok()?;
        Ok(children_cpu_seconds()? - before)
    };
    plain("-bb")?;
    let rpms = files_below(&top.path().join("RPMS"))?;
    let target = rpms.iter().find(|p| !p.to_string_lossy().contains("-debug")).context("no RPM")?;
    let run = |name: &'static str, fix: &Path| -> Result<(&'static str, Cost)> {
        let output = scratch.path().join(name);
        let before = children_cpu_seconds()?;
        let ended = Cmd::new(program("upatch-build")?)
            .arg("--spec")
            .arg(&spec)
            .arg("--patch")
            .arg(fix.join("hotpatch.patch"))
            .arg("--target")
            .arg(target)
            .args(["--name", "BENCH", "--cache"])
            .arg(scratch.path().join("store"))
            .arg("--output")
            .arg(&output)
            .limit(LIMIT)
            .run()?
            .expect_code(&[0, 3, 4])?;
        let cpu = children_cpu_seconds()? - before;
        Ok((name, Cost::of(ended.code, cpu, &output.join("report.yaml"))?))
    };
    // Plain builds before and after, so that a machine that gets slower meanwhile shows.
    let first = plain("-bc")?;
    let mut runs = vec![run("cold", top.path())?, run("same", top.path())?];
    runs.push(run("other", another.path())?);
    Ok(Row { id: id.to_owned(), plain: [first, plain("-bc")?], runs })
}

impl Cost {
    fn of(code: i32, cpu: f64, report: &PathBuf) -> Result<Self> {
        let report: Value = serde_yaml::from_str(&std::fs::read_to_string(report)?)?;
        let phase = |name: &str| report.get("cpu").and_then(|c| c.get(name)).and_then(Value::as_f64);
        let units = |name: &str| report.get("units").and_then(|u| u.get(name)).and_then(Value::as_u64);
        let phases = PHASES.map(|name| phase(name).unwrap_or_default());
        let (compiled, reused) = (units("compiled").unwrap_or_default(), units("reused").unwrap_or_default());
        Ok(Self { code, cpu, phases, compiled, reused })
    }
}

impl Row {
    fn base(&self) -> f64 {
        f64::midpoint(self.plain[0], self.plain[1])
    }

    fn ratio(&self, cost: &Cost) -> f64 {
        cost.cpu / self.base()
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [before, after] = self.plain;
        writeln!(f, "{:<26} {:<12} {:>8.2} {:>6.2}", self.id, "rpmbuild -bc", self.base(), 1.0)?;
        writeln!(f, "{:<26} {:<12} before {before:.2}, after {after:.2}", "", "")?;
        for (name, cost) in &self.runs {
            write!(f, "{:<26} {:<12} {:>8.2} {:>6.2}", "", name, cost.cpu, self.ratio(cost))?;
            write!(f, " {:>5}", cost.code)?;
            cost.phases.iter().try_for_each(|seconds| write!(f, " {seconds:>9.2}"))?;
            writeln!(f, " {:>8} {:>6}", cost.compiled, cost.reused)?;
        }
        Ok(())
    }
}
