//! The identity of a compiler: every file whose replacement may change what it makes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::hash::KeyHasher;
use crate::base::{env, files};
use crate::tools::names::Tool;
use records::OsBytes;

/// Programs that a driver runs for a unit, and files that it reads.
const PASSES: &[&str] = &["cc1", "cc1plus", "cc1obj", "as", "lto1", "liblto_plugin.so"];

/// A hash over path, size and modification time of the driver, the compilers proper, the assembler, the
/// shared libraries of these, and the plugins. Asking the driver takes some ms, so the answer is kept in
/// `memo_dir` for as long as the driver's file is the same.
pub(crate) fn of(
    driver: &Path,
    family: Tool,
    memo_dir: Option<&Path>,
    search_path_bin: &Path,
) -> Option<String> {
    let path = fs::canonicalize(driver).ok()?;
    let mut key = KeyHasher::new("driver");
    stamp(&mut key, driver)?;
    stamp(&mut key, &path)?;
    let short = key.finish();
    let memo = memo_dir.map(|dir| dir.join(&short));
    if let Some(known) = memo.as_ref().and_then(|memo| fs::read_to_string(memo).ok())
        && known.len() == 64
    {
        return Some(known);
    }
    let mut key = KeyHasher::new("compiler");
    key.field(short.as_bytes());
    let mut programs = vec![path];
    if family == Tool::Gcc {
        programs.extend(PASSES.iter().filter_map(|pass| pass_program(driver, pass, search_path_bin)));
        if let Some(dir) = ask(driver, &["-print-file-name=plugin"]) {
            let mut plugins: Vec<PathBuf> =
                fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            plugins.sort();
            for plugin in &plugins {
                let _ = stamp(&mut key, plugin);
            }
        }
        key.field(ask(driver, &["-dumpspecs"]).unwrap_or_default().as_bytes());
    }
    key.field(ask(driver, &["--version"])?.as_bytes());
    for program in &programs {
        stamp(&mut key, program)?;
        for library in libraries(program) {
            let _ = stamp(&mut key, &library);
        }
    }
    let identity = key.finish();
    if let Some(memo) = memo {
        let _ = memo.parent().map(fs::create_dir_all);
        let _ = files::write(&memo, identity.as_bytes());
    }
    Some(identity)
}

/// Adds a file's path, size and time.
pub(crate) fn stamp(key: &mut KeyHasher, path: &Path) -> Option<()> {
    let meta = fs::metadata(path).ok()?;
    key.field(OsBytes::from(path).as_bytes());
    for number in [meta.size(), meta.mtime().cast_unsigned(), meta.mtime_nsec().cast_unsigned()] {
        key.field(&number.to_le_bytes());
    }
    Some(())
}

fn pass_program(driver: &Path, pass: &str, own_bin: &Path) -> Option<PathBuf> {
    let named = PathBuf::from(ask(driver, &[&format!("-print-prog-name={pass}")])?.trim_end());
    if named.is_absolute() && !named.starts_with(own_bin) {
        return fs::canonicalize(named).ok();
    }
    let path = std::env::var_os("PATH")?;
    fs::canonicalize(crate::tools::resolve::real_tool(pass, &path, own_bin)?).ok()
}

fn ask(driver: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new(driver);
    command.args(args).env(env::ACTIVE, "1").env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Shared libraries by `ldd`; none for a static program.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| line.split("=> ").nth(1)?.split(" (").next())
        .filter_map(|path| fs::canonicalize(path.trim()).ok())
        .collect()
}
