//! `upatch-identity [CASE...]`: builds packages of the corpus plainly and again while they are recorded, at
//! the same path, and compares every object and every installed ELF file byte by byte.
//!
//! Where they differ, a second plain build tells whether the package itself never builds the same twice.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use anyhow::Result;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tests::corpus::{asked, lay_out, required};
use tests::package::files_below;
use tests::paths::program;
use tests::run::Cmd;
use wrapper::{Config, Session};

const CASES: [&str; 7] = [
    "cjson-CVE-2023-50471",
    "giflib-CVE-2026-26740",
    "jq-CVE-2025-48060",
    "less-CVE-2022-46663",
    "libpng1.6-CVE-2025-64720",
    "libde265-CVE-2023-27102",
    "rsync-CVE-2024-12085",
];

/// Contents of ELF files by their path below the build's folders.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn main() -> Result<ExitCode> {
    let corpus = required()?;
    let ids = asked(&CASES);
    println!("{:<28} {:>8} {:>8} {:>10} {:>9}  result", "case", "objects", "linked", "MB", "recorded");
    let mut same = 0;
    for id in &ids {
        let (top, spec) = lay_out(&corpus, id, &[])?;
        let plain = build(top.path(), &spec, &[])?;
        let folder = tempfile::tempdir()?;
        let session = Session::create(&folder.path().join("session"), &Config::new(&program("upatch-cc")?))?;
        let recorded = build(top.path(), &spec, &session.env())?;
        let units = session.records(wrapper::Phase::Original)?.units.len();
        let differing = differences(&plain, &recorded);
        let own = if differing.is_empty() {
            Vec::new()
        } else {
            differences(&plain, &build(top.path(), &spec, &[])?)
        };
        let caused: Vec<_> = differing.iter().filter(|p| !own.contains(p)).collect();
        let result = match (caused.as_slice(), own.as_slice()) {
            ([], []) => "identical".to_owned(),
            ([], _) => format!("identical but for what no two plain builds agree on: {}", names(&own)),
            (caused, _) => format!("recording changes {caused:?}"),
        };
        same += usize::from(caused.is_empty());
        let objects = plain.keys().filter(|p| p.extension().is_some_and(|e| e == "o")).count();
        let size = plain.values().map(Vec::len).sum::<usize>() as f64 / 1e6;
        println!("{id:<28} {objects:>8} {:>8} {size:>10.1} {units:>9}  {result}", plain.len() - objects);
    }
    println!("{same} of {} packages identical", ids.len());
    Ok(if same == ids.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds from a clean tree, up to and with `%install`.
fn build(top: &Path, spec: &Path, env: &[(OsString, OsString)]) -> Result<Files> {
    for dir in ["BUILD", "BUILDROOT"] {
        let dir = top.join(dir);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
    }
    let mut command =
        Cmd::new("rpmbuild").arg("--define").arg(format!("_topdir {}", top.display())).arg("-bi").arg(spec);
    for (name, value) in env {
        command = command.env(&name.to_string_lossy(), value);
    }
    command.limit(Duration::from_secs(3600)).run()?.ok()?;
    let mut files = Files::new();
    for dir in ["BUILD", "BUILDROOT"] {
        for path in files_below(&top.join(dir))? {
            if path.is_symlink() {
                continue;
            }
            let bytes = std::fs::read(&path)?;
            if bytes.starts_with(b"\x7fELF") {
                files.insert(path.strip_prefix(top)?.to_path_buf(), bytes);
            }
        }
    }
    Ok(files)
}

fn differences(a: &Files, b: &Files) -> Vec<PathBuf> {
    let names = a.keys().chain(b.keys().filter(|p| !a.contains_key(*p)));
    names.filter(|p| a.get(*p) != b.get(*p)).cloned().collect()
}

/// File names, a few of them.
fn names(paths: &[PathBuf]) -> String {
    let names = paths.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy());
    let shown: Vec<_> = names.take(3).collect();
    let more = if paths.len() > shown.len() {
        format!(" and {} more", paths.len() - shown.len())
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}
