//! Runs `upatch-build` and `upatch`.

use crate::package::{Built, files_below};
use crate::paths;
use crate::run::{Cmd, Ended};
use anyhow::{Context, Result, anyhow, ensure};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `upatch-build` with a store of compiled units that all tests of one program share, so that stale hits
/// would show.
///
/// # Errors
/// The program is missing.
pub fn upatch_build() -> Result<Cmd> {
    static CACHE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let dir = CACHE.get_or_init(|| store_of_this_process().map_err(|error| format!("{error:#}")));
    let dir = dir.as_ref().map_err(|error| anyhow!("{error}"))?;
    Ok(Cmd::new(paths::program("upatch-build")?).env("XDG_CACHE_HOME", dir))
}

/// An empty directory that lasts as long as this process. Nothing runs when a test program ends, so each one
/// clears away what earlier ones left.
fn store_of_this_process() -> Result<PathBuf> {
    const PREFIX: &str = "upatch-cache-";
    for entry in std::fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.strip_prefix(PREFIX)).and_then(|n| n.parse::<u32>().ok());
        let gone = |pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists();
        if owner.is_some_and(gone) {
            // Another test program may be at it too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let dir = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// `upatch`.
///
/// # Errors
/// The program is missing.
pub fn upatch() -> Result<Cmd> {
    Ok(Cmd::new(paths::program("upatch")?))
}

/// A patch that was made.
#[derive(Debug)]
pub struct Made {
    /// Keeps the directory.
    pub output: TempDir,
    /// Patch name.
    pub name: String,
    /// How `upatch-build` ended.
    pub ended: Ended,
}

impl Made {
    /// The patch directory.
    pub fn dir(&self) -> PathBuf {
        self.output.path().join(&self.name)
    }

    /// Names of the ELF files patched, sorted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn elfs(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for path in files_below(&self.dir())? {
            if let Some(name) =
                path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".upatch"))
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The report.
    ///
    /// # Errors
    /// There is none, or it is no YAML.
    pub fn report(&self) -> Result<serde_yaml::Value> {
        let path = self.output.path().join("report.yaml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} is always written", path.display()))?;
        serde_yaml::from_str(&text).context("report.yaml")
    }

    /// The names below every field `field` of the report, whatever part of it they stand in; a `.cold` child
    /// counts as its parent.
    ///
    /// # Errors
    /// There is no report.
    pub fn reported(&self, field: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        collect(&self.report()?, field, false, &mut names);
        for name in &mut names {
            if let Some((stem, _)) = name.split_once('.').filter(|(stem, _)| !stem.is_empty()) {
                *name = stem.to_owned();
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Checks that nothing but the report (and logs) was written.
    ///
    /// # Errors
    /// There is a patch directory or an RPM.
    pub fn nothing_written(&self) -> Result<()> {
        for path in files_below(self.output.path())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            ensure!(name == "report.yaml" || name.ends_with(".log"), "{} was written", path.display());
        }
        Ok(())
    }
}

/// Makes a patch for a built package from its spec.
///
/// # Errors
/// `upatch-build` is missing or does not end; any exit code of it is fine.
pub fn make_patch(built: &Built, patch: &Path, name: &str, args: &[&str]) -> Result<Made> {
    let output = tempfile::Builder::new().prefix("upatch-out-").tempdir()?;
    let ended = upatch_build()?
        .arg("--spec")
        .arg(&built.layout.spec)
        .arg("--sourcedir")
        .arg(built.layout.top.path().join("SOURCES"))
        .arg("--patch")
        .arg(patch)
        .arg("--target")
        .arg(&built.rpm)
        .args(["--name", name, "--output"])
        .arg(output.path())
        .args(args)
        .run()?;
    Ok(Made { output, name: name.to_owned(), ended })
}

/// Builds a program from the sources `tree` with the shell command `build`, and makes a patch for it. `dir`
/// is where to work. Returns the program, which is `program` in the tree, and the patch directory.
///
/// # Errors
/// Either fails.
pub fn patch_by_build(
    dir: &Path,
    tree: &Path,
    build: &str,
    program: &str,
    patch: &Path,
) -> Result<(PathBuf, PathBuf)> {
    let (built, clean, out) = (dir.join("built"), dir.join("source"), dir.join("out"));
    for copy in [&built, &clean] {
        Cmd::new("cp").arg("-r").arg(tree).arg(copy).run()?.ok()?;
    }
    Cmd::new("sh").args(["-c", build]).dir(&built).run()?.ok()?;
    let program = built.join(program);
    upatch_build()?
        .arg("--source")
        .arg(&clean)
        .args(["--build", build, "--no-cache", "--name", "PATCH", "--patch"])
        .arg(patch)
        .arg("--target")
        .arg(&program)
        .arg("--output")
        .arg(&out)
        .run()?
        .ok()?;
    Ok((program, out.join("PATCH")))
}

/// `upatch daemon`, killed when dropped.
#[derive(Debug)]
pub struct Service(Child);

impl Service {
    /// Starts it and waits until it listens. Its log is in `root`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(root: &Path) -> Result<Self> {
        Self::start_with(upatch()?, root)
    }

    /// The same with another program than the one built.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_with(upatch: Cmd, root: &Path) -> Result<Self> {
        let socket = root.join("run/upatch/socket");
        // One that was killed has left it.
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let command = upatch.arg("--root").arg(root).arg("daemon");
        let service = Self(command.spawn_to(&root.join("service.log"))?);
        let began = Instant::now();
        while !socket.exists() {
            ensure!(began.elapsed() < Duration::from_secs(60), "the service does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(service)
    }

    /// Ends it.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn finish(mut self) -> Result<()> {
        ensure!(self.0.try_wait()?.is_none(), "the service has ended by itself");
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn collect(value: &serde_yaml::Value, field: &str, below: bool, names: &mut Vec<String>) {
    match value {
        serde_yaml::Value::Mapping(map) => {
            if below {
                let named = ["name", "symbol", "function", "object"].iter().find_map(|key| map.get(*key));
                names.extend(named.and_then(|v| v.as_str()).map(str::to_owned));
                if named.is_some() {
                    return;
                }
            }
            for (key, inner) in map {
                collect(inner, field, below || key.as_str() == Some(field), names);
            }
        }
        serde_yaml::Value::Sequence(list) => {
            list.iter().for_each(|inner| collect(inner, field, below, names))
        }
        serde_yaml::Value::String(text) if below => names.push(text.clone()),
        _ => {}
    }
}
