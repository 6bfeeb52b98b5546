//! Runs cases of a corpus of real security fixes: builds the package, makes the patch, applies it to the running program under load.
//!
//! The corpus is a folder with `mkcase` (lays out a case for rpmbuild), `corpus.yaml` and `checks/ID.sh`
//! (`ROOT start|probe|stop DIR`; exit code of probe: 0 fixed, 1 vulnerable, 2 broken).

use crate::load::{Load, Redis};
use crate::package::{files_below, unpack};
use crate::paths::repository;
use crate::programs::{Made, upatch, upatch_build};
use crate::run::{Cmd, Ended};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The corpus: `$UPATCH_CORPUS`, or `../shared/corpus` beside the checkout.
pub fn folder() -> Option<PathBuf> {
    let dir = match std::env::var_os("UPATCH_CORPUS") {
        Some(dir) => repository().join(dir),
        None => repository().parent()?.join("shared/corpus"),
    };
    dir.join("mkcase").is_file().then_some(dir)
}

/// A case laid out and built as it is shipped.
#[derive(Debug)]
pub struct Case {
    /// Case id.
    pub id: String,
    /// The rpmbuild tree.
    pub top: TempDir,
    /// The spec file.
    pub spec: PathBuf,
    /// The main RPM.
    pub rpm: PathBuf,
    /// The RPM unpacked.
    pub root: PathBuf,
    corpus: PathBuf,
}

/// What came of a case.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Exit code of `upatch-build`.
    pub code: i32,
    /// Its wall time.
    pub made_in: Duration,
    /// Changed functions in the report.
    pub changed: usize,
    /// Wall time of `upatch apply`.
    pub applied_in: Option<Duration>,
    /// What the check said of the patched process.
    pub probe: String,
    /// Requests answered under load, all of them right.
    pub requests: u64,
}

/// Lays out a case; fetches its source package if it is not in the cache yet.
///
/// # Errors
/// No such case, or the source cannot be fetched.
pub fn lay_out(corpus: &Path, id: &str, options: &[&str]) -> Result<(TempDir, PathBuf)> {
    let top = tempfile::Builder::new().prefix("upatch-corpus-").tempdir()?;
    let ended = Cmd::new(corpus.join("mkcase"))
        .args(["make", id])
        .arg(top.path())
        .arg("--cache")
        .arg(repository().join("mkcase-cache"))
        .args(options)
        .run()?
        .ok()
        .context("are there deb-src entries? scripts/setup --corpus makes them")?;
    let spec = PathBuf::from(ended.stdout.lines().last().context("mkcase names no spec")?);
    Ok((top, spec))
}

impl Case {
    /// Lays out and builds a case.
    ///
    /// # Errors
    /// It does not build.
    pub fn build(corpus: &Path, id: &str) -> Result<Self> {
        let (top, spec) = lay_out(corpus, id, &[])?;
        Cmd::new("rpmbuild")
            .arg("--define")
            .arg(format!("_topdir {}", top.path().display()))
            .arg("-bb")
            .arg(&spec)
            .limit(Duration::from_secs(3600))
            .run()?
            .ok()?;
        let rpms = files_below(&top.path().join("RPMS"))?;
        let is_main = |p: &&PathBuf| !p.to_string_lossy().contains("-debuginfo-");
        let rpm = rpms.iter().find(is_main).context("no RPM")?.clone();
        let root = top.path().join("unpacked");
        unpack(&rpm, &root)?;
        Ok(Self { id: id.to_owned(), top, spec, rpm, root, corpus: corpus.to_path_buf() })
    }

    /// Makes the patch.
    ///
    /// # Errors
    /// `upatch-build` is missing or does not end.
    pub fn make_patch(&self, args: &[&str]) -> Result<Made> {
        let output = tempfile::Builder::new().prefix("upatch-out-").tempdir()?;
        let ended = upatch_build()?
            .arg("--spec")
            .arg(&self.spec)
            .arg("--patch")
            .arg(self.top.path().join("hotpatch.patch"))
            .arg("--target")
            .arg(&self.rpm)
            .args(["--name", &self.id, "--output"])
            .arg(output.path())
            .args(args)
            .limit(Duration::from_secs(3600))
            .run()?;
        Ok(Made { output, name: self.id.clone(), ended })
    }

    /// The script that shows the fix from outside, if there is one at this path.
    pub fn check(&self) -> PathBuf {
        self.corpus.join("checks").join(format!("{}.sh", self.id))
    }

    fn run_check(&self, verb: &str, dir: &Path) -> Result<Ended> {
        Cmd::new(self.check()).arg(&self.root).arg(verb).arg(dir).limit(Duration::from_secs(120)).run()
    }

    /// Makes the patch, and if the corpus can show the fix from outside, applies it to the running program and takes it back.
    ///
    /// # Errors
    /// Whatever is not as it must be, but for a refusal by `upatch-build`, which is an [`Outcome`].
    pub fn try_patch(&self) -> Result<Outcome> {
        let made = self.make_patch(&[])?;
        let mut outcome = Outcome { code: made.ended.code, made_in: made.ended.took, ..Outcome::default() };
        if made.ended.code != 0 {
            outcome.probe = made
                .ended
                .stderr
                .lines()
                .find(|l| l.starts_with("error: "))
                .unwrap_or("no error line")
                .to_owned();
            return Ok(outcome);
        }
        outcome.changed = made.reported("changed")?.len();
        if !self.check().is_file() {
            "no check".clone_into(&mut outcome.probe);
            return Ok(outcome);
        }
        let running = Running { case: self, dir: tempfile::tempdir()? };
        let result = self.live(&running, &made, &mut outcome);
        drop(running);
        result.map(|()| outcome)
    }

    fn live(&self, running: &Running<'_>, made: &Made, outcome: &mut Outcome) -> Result<()> {
        let script = std::fs::read_to_string(self.check())?;
        let fatal = script.lines().any(|l| l.starts_with("FATAL=1"));
        let at_start = script.lines().any(|l| l.starts_with("INIT=1"));
        let root = tempfile::tempdir()?;
        let run = |args: &[&str]| upatch()?.arg("--root").arg(root.path()).args(args).run();
        let dir = running.dir.path();

        self.run_check("start", dir)?.ok()?;
        self.run_check("probe", dir)?.expect_code(&[1]).context("the unpatched program")?;
        if fatal {
            self.run_check("stop", dir)?;
            self.run_check("start", dir)?.ok()?;
        }
        let pid = std::fs::read_to_string(dir.join("pid"))?.trim().to_owned();
        let port: Option<u16> =
            std::fs::read_to_string(dir.join("port")).ok().and_then(|p| p.trim().parse().ok());
        let redis = port.filter(|_| self.id.starts_with("redis-"));

        let load = match redis {
            Some(port) => {
                let mut client = Redis::connect(port)?;
                for n in 0..1000 {
                    client.command(&["SET", &format!("kept:{n}"), &format!("before-{n}")])?;
                }
                let load = Load::start(&self.root, port, 4, &dir.join("benchmark.log"))?;
                load.go_on(3000)?;
                Some((load, client))
            }
            None => None,
        };
        let applied = run(&["apply", &made.dir().to_string_lossy()])?.ok()?;
        outcome.applied_in = Some(applied.took);
        let status = run(&["status", &made.name])?.ok()?;
        ensure!(status.stdout.contains(&pid), "{}", status.account());
        if let Some((load, _)) = &load {
            load.go_on(3000)?;
        }
        let probe = self.run_check("probe", dir)?;
        outcome.probe = probe.stdout.trim().to_owned();
        if !at_start {
            probe.ok().context("the patched program")?;
        }
        if let Some((load, mut client)) = load {
            load.go_on(1000)?;
            run(&["deactive", &made.name])?.ok()?;
            load.go_on(1000)?;
            run(&["active", &made.name])?.ok()?;
            load.go_on(1000)?;
            for n in 0..1000 {
                let got = client.command(&["GET", &format!("kept:{n}")])?;
                ensure!(got == format!("before-{n}"), "kept:{n} is {got}");
            }
            outcome.requests = load.finish()?;
        }
        run(&["deactive", &made.name])?.ok()?;
        // A probe of the old code would end a program that dies of it.
        if !fatal && !at_start {
            let back = self.run_check("probe", dir)?;
            // What the patched program has cleaned up may stay so; a broken one is a failure.
            if back.code == 2 {
                bail!("broken after deactivation\n{}", back.account());
            }
        }
        run(&["remove", &made.name])?.ok()?;
        // A program that has ended may still be there as a zombie.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the program has ended")?;
        ensure!(!stat.contains(") Z "), "the program has ended");
        Ok(())
    }
}

/// A program started by a check, stopped when dropped.
struct Running<'a> {
    case: &'a Case,
    dir: TempDir,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.case.run_check("stop", self.dir.path());
    }
}
