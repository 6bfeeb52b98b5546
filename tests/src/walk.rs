//! The whole road on a real redis: shipped package, patch RPM, `rpm -i` under load, `rpm -e`; from a spec
//! file, a source RPM and a git tree.

use crate::corpus::{Case, Script, lay_out};
use crate::load::Kept;
use crate::overlay::Overlay;
use crate::package::files_below;
use crate::programs::{upatch, upatch_build};
use crate::run::{Cmd, Ended};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Says how upatch is told what to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `--spec`
    Spec,
    /// `--srpm`
    Srpm,
    /// `--source --git`
    Git,
}

/// One walk: what was run and what came of it, for a transcript.
#[derive(Debug)]
pub struct Walk {
    lines: Vec<String>,
    /// Requests answered under load.
    pub requests: u64,
}

impl Walk {
    fn note(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn ran(&mut self, ended: &Ended) {
        self.note(format!("$ {}", ended.line));
        for line in ended.stdout.lines().chain(ended.stderr.lines()) {
            self.note(format!("  {line}"));
        }
    }

    /// The transcript.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Where the patch for a process comes from, and how it is brought in and taken out.
enum Patch {
    Rpm(String),
    Directory(String),
}

/// Makes the patch for `case`, puts it into a running redis under load, and takes it out again.
///
/// # Errors
/// Anything that is not as it must be: a failed request, a probe that does not say what it must, data lost.
pub fn walk(corpus: &Path, case: &Case, way: Way, cache: &Path) -> Result<Walk> {
    let mut walk = Walk { lines: Vec::new(), requests: 0 };
    let scratch = tempfile::Builder::new().prefix("upatch-walk-").tempdir()?;
    let out = scratch.path().join("out");
    let mut command = upatch_build()?;
    let mut root = case.shipped.root.clone();
    let fix = case.top.path().join("hotpatch.patch");
    match way {
        Way::Spec => command = command.arg("--spec").arg(&case.spec).arg("--target").arg(&case.shipped.rpm),
        Way::Srpm => {
            command = command.arg("--srpm").arg(source_rpm(case)?).arg("--target").arg(&case.shipped.rpm)
        }
        Way::Git => {
            let (tree, running) = git_tree(corpus, case, &scratch)?;
            root = running;
            let target = root.join("usr/bin/redis-server");
            command = command.arg("--source").arg(tree).args(["--build", BUILD, "--git", "HEAD~1..HEAD"]);
            command = command.arg("--target").arg(target).args(["--elf", "redis-server"]);
        }
    }
    if way != Way::Git {
        command = command.arg("--patch").arg(&fix);
    }
    let made = command
        .args(["--name", "WALK", "--cache"])
        .arg(cache)
        .arg("--output")
        .arg(&out)
        .limit(Duration::from_secs(3600))
        .run()?
        .ok()?;
    walk.ran(&made);
    let patch = match way {
        Way::Git => Patch::Directory(text(&out.join("WALK"))),
        Way::Spec | Way::Srpm => Patch::Rpm(patch_rpm(&out)?),
    };
    live(&mut walk, case, &root, &patch)?;
    Ok(walk)
}

/// How redis is built in a source tree, as its spec file does.
pub const BUILD: &str = "make -j2 MALLOC=libc OPTIMIZATION=-O2 CFLAGS='-O2 -g'";

/// The unpacked sources of a case, in a folder of `scratch`.
///
/// # Errors
/// They cannot be had.
pub fn redis_tree(corpus: &Path, case: &str, scratch: &Path) -> Result<PathBuf> {
    let (top, spec) = lay_out(corpus, case, &[])?;
    let define = format!("_topdir {}", top.path().display());
    Cmd::new("rpmbuild").args(["--define", &define, "-bp"]).arg(&spec).run()?.ok()?;
    let tree = scratch.join("redis");
    let unpacked = std::fs::read_dir(top.path().join("BUILD"))?.next().context("nothing unpacked")??;
    Cmd::new("cp").arg("-r").arg(unpacked.path()).arg(&tree).run()?.ok()?;
    Ok(tree)
}

/// What a copy of the sources `tree` builds, installed in a folder of `scratch`.
///
/// # Errors
/// The build fails.
pub fn redis_root(tree: &Path, scratch: &Path) -> Result<PathBuf> {
    let running = scratch.join("running");
    Cmd::new("cp").arg("-r").arg(tree).arg(&running).run()?.ok()?;
    Cmd::new("sh").args(["-c", BUILD]).dir(&running).limit(Duration::from_secs(3600)).run()?.ok()?;
    let root = scratch.join("root");
    let install = format!("{BUILD} install PREFIX={}/usr", root.display());
    Cmd::new("sh").args(["-c", &install]).dir(&running).limit(Duration::from_secs(3600)).run()?.ok()?;
    Ok(root)
}

/// A git tree whose last commit is the fix, and a redis installed from the commit before.
fn git_tree(corpus: &Path, case: &Case, scratch: &TempDir) -> Result<(PathBuf, PathBuf)> {
    let tree = redis_tree(corpus, &case.facts.id, scratch.path())?;
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=upatch", "-c", "user.email=upatch@example.org"];
        Cmd::new("git").args(who).args(args).dir(&tree).run()?.ok()
    };
    git(&["init", "-q"])?;
    git(&["add", "-A", "-f"])?;
    git(&["commit", "-qm", "base"])?;
    let root = redis_root(&tree, scratch.path())?;
    git(&["apply", &text(&case.top.path().join("hotpatch.patch"))])?;
    git(&["add", "-A", "-f"])?;
    git(&["commit", "-qm", "the fix"])?;
    Ok((tree, root))
}

fn source_rpm(case: &Case) -> Result<PathBuf> {
    let define = format!("_topdir {}", case.top.path().display());
    Cmd::new("rpmbuild").args(["--define", &define, "-bs"]).arg(&case.spec).run()?.ok()?;
    files_below(&case.top.path().join("SRPMS"))?.pop().context("no source RPM")
}

fn patch_rpm(out: &Path) -> Result<String> {
    let mut rpms = files_below(out)?.into_iter().map(|p| text(&p));
    rpms.rfind(|p| p.ends_with(".rpm") && !p.ends_with(".src.rpm")).context("no patch RPM")
}

fn live(walk: &mut Walk, case: &Case, root: &Path, patch: &Patch) -> Result<()> {
    let fatal = std::fs::read_to_string(case.check())?.lines().any(|l| l.starts_with("FATAL=1"));
    let view = Overlay::new()?;
    view.run(&["rpm", "-i", "--nodeps", &text(&case.shipped.rpm)])?.ok()?;
    let server = Script::start(&case.check(), root)?;
    let before = server.probe()?.expect_code(&[1])?;
    walk.note(format!("probe: {}", before.stdout.trim()));
    if fatal {
        server.restart()?;
    }
    let pid = server.pid()?;
    let port = server.port().context("the check names no port")?;
    let load = Kept::start(root, port, server.dir())?;
    let scratch = tempfile::tempdir()?;
    let by_hand = |args: &[&str]| upatch()?.arg("--root").arg(scratch.path()).args(args).run()?.ok();
    let list = match patch {
        Patch::Rpm(rpm) => {
            walk.ran(&view.run(&["rpm", "-i", "--nodeps", rpm])?.ok()?);
            view.run(&["upatch", "list"])?.ok()?
        }
        Patch::Directory(dir) => {
            walk.ran(&by_hand(&["apply", dir])?);
            by_hand(&["list"])?
        }
    };
    walk.ran(&list);
    ensure!(list.stdout.contains("ACTIVED"), "{}", list.account());
    load.go_on(3000)?;
    let during = server.probe()?.ok()?;
    walk.note(format!("probe: {}", during.stdout.trim()));
    load.go_on(3000)?;
    match patch {
        Patch::Rpm(rpm) => {
            let name = view.run(&["rpm", "-qp", "--qf", "%{NAME}", rpm])?.ok()?.stdout;
            walk.ran(&view.run(&["rpm", "-e", "--nodeps", &name])?.ok()?);
        }
        Patch::Directory(_) => {
            walk.ran(&by_hand(&["deactive", "WALK"])?);
            walk.ran(&by_hand(&["remove", "WALK"])?);
        }
    }
    load.go_on(3000)?;
    walk.requests = load.finish()?;
    ensure!(server.pid()? == pid, "another process");
    // The old code is back: the hole too. Last, since it may kill the server.
    let after = server.probe()?.expect_code(&[1])?;
    walk.note(format!("probe: {}", after.stdout.trim()));
    walk.note(format!(
        "{} requests under load, none failed; 1000 keys written before are there",
        walk.requests
    ));
    Ok(())
}
