//! Original builds come out of the store where nothing that they are made from has changed, and what comes of
//! them is what a whole build gives.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tests::package::{Layout, files_below};
use tests::paths::program;
use tests::run::{Cmd, Ended};

/// The patched build was made in a copy of the original's tree.
const IN_ITS_TREE: &str = "the fix was built in the tree of the original build";
const TAKEN: &str = "the original build comes out of the store";

/// A package with a store of its own.
struct Bench {
    layout: Layout,
    scratch: TempDir,
    target: Option<PathBuf>,
}

impl Bench {
    fn new() -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("upatch-kept-").tempdir()?;
        Ok(Self { layout: Layout::new("hello-daemon")?, scratch, target: None })
    }

    /// The same with the package as a target, which was built somewhere else.
    fn with_target() -> Result<Self> {
        let bench = Self::new()?;
        bench.layout.rpmbuild(&["-bb"])?;
        let rpms = files_below(&bench.layout.top.path().join("RPMS"))?;
        let main = rpms.iter().find(|p| !p.to_string_lossy().contains("-debug")).context("no RPM")?.clone();
        Ok(Self { target: Some(main), ..bench })
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    fn output(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn command(&self, fix: &str, name: &str, options: &[&str]) -> Result<Cmd> {
        let command = Cmd::new(program("upatch-build")?)
            .args(["--name", "P", "--no-rpm", "-v", "--workdir"])
            .arg(self.scratch.path().join("work"))
            .args(options)
            .arg("--spec")
            .arg(&self.layout.spec)
            .arg("--patch")
            .arg(self.layout.patch(fix))
            .arg("--output")
            .arg(self.output(name));
        let command = match options.contains(&"--no-cache") {
            true => command,
            false => command.arg("--cache").arg(self.store()),
        };
        Ok(match &self.target {
            Some(target) => command.arg("--target").arg(target),
            None => command,
        })
    }

    fn run(&self, fix: &str, name: &str, options: &[&str]) -> Result<Ended> {
        self.command(fix, name, options)?.run()
    }

    /// The patch is what a whole build gives, and came out of the store or not.
    fn same_as_whole(&self, fix: &str, name: &str, taken: bool) -> Result<()> {
        let ended = self.run(fix, name, &[])?.ok()?;
        ensure!(ended.stderr.contains(TAKEN) == taken, "{name}: {}", ended.stderr);
        let report = fs::read_to_string(self.output(name).join("report.yaml"))?;
        ensure!(report.contains("\nsaved: ") == taken, "{name}: {report}");
        let whole = format!("{name}-whole");
        self.run(fix, &whole, &["--full-build", "--no-cache"])?.ok()?;
        let patch = |name: &str| patch_files(&self.output(name).join("P"));
        ensure!(patch(name)? == patch(&whole)?, "{name}: not what a whole build gives");
        Ok(())
    }

    fn builds(&self) -> Result<Vec<PathBuf>> {
        let all = files_below(&self.store().join("builds"))?;
        let is_whole = |p: &PathBuf| !p.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b".");
        Ok(all.into_iter().filter(is_whole).collect())
    }
}

/// Name and contents of each file of a patch directory.
fn patch_files(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let files = files_below(dir)?;
    ensure!(!files.is_empty(), "no patch in {}", dir.display());
    files.into_iter().map(|f| Ok((f.strip_prefix(dir)?.to_path_buf(), fs::read(&f)?))).collect()
}

#[test]
fn the_same_fix_and_another_one_take_the_original_build_from_the_store() -> Result<()> {
    let bench = Bench::with_target()?;
    bench.same_as_whole("fix-exe", "cold", false)?;
    bench.same_as_whole("fix-exe", "warm", true)?;
    bench.same_as_whole("fix-library", "other", true)?;
    bench.run("fix-both", "in-its-tree", &[])?.ok()?.says(IN_ITS_TREE)?;
    let whole = bench.run("fix-both", "whole", &["--full-build"])?.ok()?;
    ensure!(!whole.stderr.contains(IN_ITS_TREE), "{}", whole.stderr);
    // A header's other fix, and one that is refused.
    bench.same_as_whole("header", "header", true)?;
    bench.run("struct-grown", "refused", &[])?.expect_code(&[4])?.says(TAKEN)?;
    // What the fix is applied to is what the build left of the sources.
    let cold = bench.run("bad-apply", "rejected", &["--full-build"])?.expect_code(&[6])?;
    let warm = bench.run("bad-apply", "rejected", &[])?.expect_code(&[6])?;
    let error = |ended: &Ended| ended.stderr.lines().find(|l| l.starts_with("error: ")).map(str::to_owned);
    ensure!(error(&cold) == error(&warm), "{} against {}", cold.stderr, warm.stderr);
    Ok(())
}

#[test]
fn a_build_that_does_not_run_twice_is_made_from_the_start() -> Result<()> {
    let edit = |from: &str, to: &str| -> Result<Bench> {
        let bench = Bench::new()?;
        let layout = bench.layout.edit(|spec| Ok(spec.replace(from, to)))?;
        Ok(Bench { layout, ..bench })
    };
    let bench = edit("\n%build\n", "\n%build\nmkdir made\n")?;
    bench.same_as_whole("fix-exe", "cold", false)?;
    let again = bench.run("fix-library", "again", &[])?.ok()?;
    ensure!(again.stderr.contains("built from the start, as before: "), "{}", again.stderr);
    // Something that a compiler reads is made from all sources, and no makefile says so.
    let lines =
        "[ -f lines.h ] || echo \"static const int lines_of_it = $(cat *.c | wc -l);\" > lines.h\nmake";
    let bench = edit("\nmake ", &format!("\n{lines} "))?;
    let layout = bench.layout.edit(|spec| Ok(spec.replace("%{optflags}", "%{optflags} -include lines.h")))?;
    let bench = Bench { layout, ..bench };
    let short = bench.run("line-shift", "lines", &[])?;
    ensure!(!short.stderr.contains(IN_ITS_TREE), "{}", short.stderr);
    let whole = bench.run("line-shift", "lines-whole", &["--full-build", "--no-cache"])?;
    ensure!(short.code == whole.code, "{} against {}", short.stderr, whole.stderr);
    let patch = |name: &str| patch_files(&bench.output(name).join("P"));
    ensure!(short.code != 0 || patch("lines")? == patch("lines-whole")?, "other bytes");
    Ok(())
}

#[test]
fn a_build_is_made_again_when_something_that_it_is_made_from_has_changed() -> Result<()> {
    let bench = Bench::new()?;
    bench.same_as_whole("fix-exe", "cold", false)?;
    bench.same_as_whole("fix-exe", "warm", true)?;
    let is_taken = |command: Cmd| -> Result<bool> { Ok(command.run()?.ok()?.stderr.contains(TAKEN)) };
    let run = |name: &str| bench.command("fix-exe", name, &[]);
    ensure!(!is_taken(run("variable")?.env("UPATCH_TEST_VARIABLE", "1"))?, "a variable");
    ensure!(!is_taken(bench.command("fix-exe", "macro", &["--define", "optflags -O1 -g"])?)?, "a macro");
    ensure!(is_taken(run("still")?)?, "what was kept is still there");
    fs::write(bench.layout.top.path().join("SOURCES/beside"), "1")?;
    ensure!(!is_taken(run("beside")?)?, "a file among the sources");
    ensure!(is_taken(run("beside-again")?)?, "the same file");
    ensure!(bench.builds()?.len() == 4, "{:?}", bench.builds()?);
    ensure!(!is_taken(bench.command("fix-exe", "asked", &["--full-build"])?)?, "--full-build");
    Ok(())
}

#[test]
fn damage_and_runs_that_were_killed_cost_a_build_and_nothing_else() -> Result<()> {
    let bench = Bench::new()?;
    bench.same_as_whole("fix-exe", "cold", false)?;
    let path = bench.builds()?.pop().context("nothing was kept")?;
    let good = fs::read(&path)?;
    for (name, at) in [("contents", good.len() / 3), ("index", good.len() - 200), ("mark", good.len() - 1)] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes)?;
        bench.same_as_whole("fix-exe", name, false)?;
    }
    fs::write(&path, &good[..good.len() / 2])?;
    bench.same_as_whole("fix-exe", "torn", false)?;
    bench.same_as_whole("fix-exe", "mended", true)?;
    for (number, milliseconds) in [400, 900, 1500, 2500].into_iter().enumerate() {
        fs::remove_dir_all(bench.store())?;
        let mut run = bench.command("fix-exe", "killed", &[])?.spawn_to(&bench.output("log"))?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        run.kill()?;
        run.wait()?;
        let name = format!("after-{number}");
        let ended = bench.run("fix-exe", &name, &[])?.ok()?;
        let whole = patch_files(&bench.output("cold").join("P"))?;
        ensure!(patch_files(&bench.output(&name).join("P"))? == whole, "{}", ended.stderr);
    }
    Ok(())
}

#[test]
fn runs_at_the_same_time_do_not_disturb_each_other() -> Result<()> {
    let bench = Bench::new()?;
    bench.run("fix-exe", "first", &[])?.ok()?;
    let fixes = ["fix-exe", "fix-library", "fix-exe"];
    let started = fixes.iter().enumerate().map(|(number, fix)| {
        let (name, log) = (format!("run-{number}"), bench.output(&format!("log-{number}")));
        bench.command(fix, &name, &[])?.spawn_to(&log)
    });
    for mut run in started.collect::<Result<Vec<_>>>()? {
        ensure!(run.wait()?.success(), "{}", fs::read_to_string(bench.output("log-0"))?);
    }
    let patch = |name: &str| patch_files(&bench.output(name).join("P"));
    ensure!(patch("run-0")? == patch("first")? && patch("run-2")? == patch("first")?, "other bytes");
    bench.same_as_whole("fix-library", "after", true)?;
    ensure!(patch("run-1")? == patch("after")?, "other bytes");
    Ok(())
}
