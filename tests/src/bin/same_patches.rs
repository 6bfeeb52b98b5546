//! `upatch-same-patches --old DIR [--new DIR] [CASE...]`: makes the patch of each case of the corpus with two
//! sets of programs, and says in what the results differ: exit code, error line, manifest, patch files, debug
//! information, report. Times do not count. For changes that shall change nothing. Default of `--new`: the
//! programs beside this one.

use anyhow::{Context, Result, bail, ensure};
use serde_yaml::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tests::corpus::{Case, required};
use tests::package::files_below;
use tests::paths;
use tests::programs::Made;

/// Small packages, of which most kinds of change are there.
const DEFAULT: [&str; 7] = [
    "cjson-CVE-2023-50471",
    "cjson-CVE-2024-31755",
    "cjson-CVE-2025-57052",
    "giflib-CVE-2026-23868",
    "giflib-CVE-2026-26740",
    "less-CVE-2022-46663",
    "less-CVE-2024-32487",
];

fn main() -> Result<ExitCode> {
    let (mut old, mut new, mut cases) = (None, None, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--old" => old = args.next(),
            "--new" => new = args.next(),
            other if other.starts_with('-') => bail!("no option {other}; there are --old and --new"),
            other => cases.push(other.to_owned()),
        }
    }
    let old = program(&old.context("--old DIR: the folder of the programs before the change")?)?;
    let new = new.map_or_else(|| paths::program("upatch-build"), |dir| program(&dir))?;
    if cases.is_empty() {
        cases = DEFAULT.map(str::to_owned).to_vec();
    }
    let corpus = required()?;
    let mut stdout = std::io::stdout().lock();
    let mut others = 0;
    for id in &cases {
        let found = Case::build(&corpus, id).and_then(|case| compared(&case, &old, &new));
        match &found {
            Ok((code, differences)) if differences.is_empty() => {
                writeln!(stdout, "{id:<28} same (exit code {code})")?;
            }
            Ok((_, differences)) => {
                writeln!(stdout, "{id:<28} OTHER\n    {}", differences.join("\n    "))?;
            }
            Err(error) => writeln!(stdout, "{id:<28} FAILED {error:#}")?,
        }
        others += usize::from(!found.is_ok_and(|(_, differences)| differences.is_empty()));
        stdout.flush()?;
    }
    writeln!(stdout, "{} cases: {others} are not the same", cases.len())?;
    Ok(if others == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn program(dir: &str) -> Result<PathBuf> {
    let path = std::path::absolute(dir)?.join("upatch-build");
    ensure!(path.is_file(), "{} is not there", path.display());
    Ok(path)
}

/// The exit code of the new programs, and what differs, a line each.
fn compared(case: &Case, old: &Path, new: &Path) -> Result<(i32, Vec<String>)> {
    // Neither may take compiled units of the other.
    let make = |program: &Path| case.make_patch_by(program, &["--no-cache", "--no-rpm"]);
    let (before, after) = (make(old)?, make(new)?);
    let (was, is) = (results(&before)?, results(&after)?);
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        match (was.get(name), is.get(name)) {
            (Some(was), Some(is)) if was == is => {}
            (Some(Given::Text(was)), Some(Given::Text(is))) => {
                found.extend(lines(was, is).into_iter().map(|line| format!("{name}: {line}")));
            }
            (Some(_), Some(_)) => found.push(format!("{name}: other bytes")),
            (None, _) => found.push(format!("{name}: only the new programs write it")),
            (_, None) => found.push(format!("{name}: only the old programs write it")),
        }
    }
    Ok((after.ended.code, found))
}

/// Something that a run gave.
#[derive(PartialEq)]
enum Given {
    /// Readable, so that the difference can be shown.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

/// What a run gave, by name.
fn results(made: &Made) -> Result<BTreeMap<String, Given>> {
    // Each run writes to a folder of its own.
    let folder = made.output.path().display().to_string();
    let plain = |text: &str| Given::Text(text.replace(&folder, "OUTPUT"));
    let mut all = BTreeMap::new();
    all.insert("exit code".to_owned(), plain(&made.ended.code.to_string()));
    let said = made.ended.stderr.lines().filter(|l| l.starts_with("error: ") || l.starts_with("hint: "));
    all.insert("standard error".to_owned(), plain(&said.collect::<Vec<_>>().join("\n")));
    for file in files_below(made.output.path())? {
        let name = file.strip_prefix(made.output.path()).unwrap_or(&file).display().to_string();
        let data = std::fs::read(&file)?;
        let result = match file.extension().and_then(|e| e.to_str()) {
            Some("yaml") => plain(&without_times(&String::from_utf8_lossy(&data))?),
            // The builds' own logs have times and process ids in them.
            Some("log") => Given::Text(String::new()),
            _ => Given::Bytes(data),
        };
        all.insert(name, result);
    }
    Ok(all)
}

/// A manifest or a report without the seconds of its phases, on the clock and of the processors.
fn without_times(text: &str) -> Result<String> {
    let mut value: Value = serde_yaml::from_str(text)?;
    if let Value::Mapping(fields) = &mut value {
        fields.remove("seconds");
        fields.remove("cpu");
    }
    Ok(serde_yaml::to_string(&value)?)
}

/// The lines that only one text has, the first few.
fn lines(was: &str, is: &str) -> Vec<String> {
    let only = |one: &str, other: &str, sign: &str| {
        let other: BTreeSet<&str> = other.lines().collect();
        let own = one.lines().filter(|line| !other.contains(line));
        own.take(6).map(|line| format!("{sign} {}", line.trim())).collect::<Vec<_>>()
    };
    let mut found = only(was, is, "-");
    found.extend(only(is, was, "+"));
    if found.is_empty() {
        found.push("the same lines in another order".into());
    }
    found
}
