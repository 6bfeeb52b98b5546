//! Every bad input has its exit code, a message that says what to do, and leaves nothing half-written.

use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::daemon::{self, Daemon};
use tests::package::{Built, Layout, files_below};
use tests::paths;
use tests::programs::{Made, make_patch, upatch, upatch_build};
use tests::run::{Cmd, Ended};

fn built() -> Result<Built> {
    Layout::new("hello-daemon")?.build(&[])
}

fn fix() -> std::path::PathBuf {
    paths::testdata("hello-daemon").join("patches/fix-exe.patch")
}

/// `upatch-build --spec` of a layout with more arguments, into an output folder that must stay empty but for
/// the report.
fn refused(layout: &Layout, args: &[&str], codes: &[i32]) -> Result<Ended> {
    let output = tempfile::tempdir()?;
    let ended = upatch_build()?
        .arg("--spec")
        .arg(&layout.spec)
        .args(args)
        .arg("--output")
        .arg(output.path())
        .run()?;
    let made = Made { output, name: "none".into(), ended };
    made.nothing_written()?;
    made.ended.expect_code(codes)?.is_plain_error()
}

fn fix_arg() -> String {
    fix().to_string_lossy().into_owned()
}

#[test]
fn usage() -> Result<()> {
    // report.yaml is written even here, into the working directory.
    let place = tempfile::tempdir()?;
    upatch_build()?.dir(place.path()).run()?.expect_code(&[2])?;
    upatch_build()?.dir(place.path()).args(["--spec", "a.spec", "--source", "."]).run()?.expect_code(&[2])?;
    upatch_build()?
        .dir(place.path())
        .args(["--source", ".", "--patch", "x.patch"])
        .run()?
        .expect_code(&[2])?;
    upatch()?.run()?.expect_code(&[2])?;
    upatch()?.arg("no-such-verb").run()?.expect_code(&[2])?;
    upatch()?.arg("apply").run()?.expect_code(&[2])?;
    upatch()?.args(["list", "--no-such-option"]).run()?.expect_code(&[2])?;
    Ok(())
}

#[test]
fn no_patch_given() -> Result<()> {
    let layout = Layout::new("hello-daemon")?;
    refused(&layout, &[], &[2])?.says("--patch")?;
    Ok(())
}

#[test]
fn missing_files_are_named() -> Result<()> {
    let layout = Layout::new("hello-daemon")?;
    refused(&layout, &["--patch", "no-such.patch"], &[1, 2])?.says("no-such.patch")?;
    refused(&layout, &["--patch", &fix_arg(), "--target", "no-such.rpm"], &[1, 2])?.says("no-such.rpm")?;
    for option in ["--spec", "--srpm"] {
        let out = tempfile::tempdir()?;
        let end = upatch_build()?
            .args([option, "no-such-file", "--patch", &fix_arg()])
            .arg("--output")
            .arg(out.path())
            .run()?;
        end.expect_code(&[1, 2])?.is_plain_error()?.says("no-such-file")?;
    }
    Ok(())
}

#[test]
fn a_missing_source_is_named() -> Result<()> {
    let layout = Layout::new("hello-daemon")?;
    fs::remove_file(layout.top.path().join("SOURCES/hello-daemon-1.0.tar.gz"))?;
    refused(&layout, &["--patch", &fix_arg()], &[1, 5])?.says("hello-daemon-1.0.tar.gz")?;
    Ok(())
}

#[test]
fn a_spec_that_does_not_parse() -> Result<()> {
    let layout = Layout::new("hello-daemon")?.edit(|s| Ok(s.replace("Version:", "Versoin:")))?;
    refused(&layout, &["--patch", &fix_arg()], &[1, 5])?.says("Versoin")?;
    Ok(())
}

#[test]
fn an_original_that_does_not_build() -> Result<()> {
    let layout = Layout::new("hello-daemon")?
        .edit(|s| Ok(s.replace("\n%build\n", "\n%build\nsed -i 's/return width/retrun width/' area.c\n")))?;
    let ended = refused(&layout, &["--patch", &fix_arg()], &[5])?;
    // The build's own words, and where the whole log is.
    ended.says("retrun")?.says(".log")?;
    Ok(())
}

#[test]
fn missing_build_requirements_are_named() -> Result<()> {
    let layout = Layout::new("hello-daemon")?
        .edit(|s| Ok(s.replace("Source0:", "BuildRequires: no-such-library-devel\nSource0:")))?;
    refused(&layout, &["--patch", &fix_arg()], &[1, 5])?.says("no-such-library-devel")?;
    Ok(())
}

/// A package whose build gets nowhere: what is told of it is told before.
fn unbuildable() -> Result<Layout> {
    Layout::new("hello-daemon")?.edit(|s| Ok(s.replace("\n%build\n", "\n%build\nexit 1\n")))
}

#[test]
fn a_patch_that_does_not_apply_is_told_before_the_build() -> Result<()> {
    let layout = unbuildable()?;
    let patch = layout.patch("bad-apply").to_string_lossy().into_owned();
    refused(&layout, &["--patch", &patch], &[6])?.says("area.c: Hunk #1 FAILED")?;
    // Twice the same: the second finds the work of the first.
    let twice = ["--patch", &fix_arg(), "--patch", &fix_arg()];
    refused(&layout, &twice, &[6])?.says("it is applied already, or is the wrong way round")?;
    Ok(())
}

#[test]
fn a_patch_that_does_not_apply_to_a_tree_is_told_before_the_build() -> Result<()> {
    let place = tempfile::tempdir()?;
    let patches = paths::testdata("hello-daemon").join("patches");
    let made = upatch_build()?
        .arg("--source")
        .arg(paths::testdata("hello-daemon").join("src"))
        .args(["--build", "exit 1", "--output"])
        .arg(place.path())
        .arg("--patch")
        .arg(patches.join("bad-apply.patch"))
        .run()?;
    made.expect_code(&[6])?.says("area.c: Hunk #1 FAILED")?;
    Ok(())
}

#[test]
fn a_patch_that_is_no_patch() -> Result<()> {
    let layout = unbuildable()?;
    let file = layout.top.path().join("noise.patch");
    for (text, says) in [("this is not a diff\n", "no unified diff"), ("", "the file is empty")] {
        fs::write(&file, text)?;
        let ended = refused(&layout, &["--patch", &file.to_string_lossy()], &[6])?;
        ended.says("noise.patch")?.says(says)?;
    }
    Ok(())
}

#[test]
fn a_target_of_another_version_is_told_before_the_build() -> Result<()> {
    let shipped = built()?;
    let other = shipped.rpm.to_string_lossy().into_owned();
    let layout = unbuildable()?.edit(|s| Ok(s.replace("Version:        1.0", "Version:        1.1")))?;
    let sources = layout.top.path().join("SOURCES");
    fs::copy(sources.join("hello-daemon-1.0.tar.gz"), sources.join("hello-daemon-1.1.tar.gz"))?;
    let ended = refused(&layout, &["--patch", &fix_arg(), "--target", &other], &[7])?;
    ended.says("is of hello-daemon-1.0-1, and the source is that of hello-daemon-1.1-1")?;
    Ok(())
}

#[test]
fn a_target_from_other_sources() -> Result<()> {
    let built = built()?;
    let other = Layout::new("hello-daemon")?
        .edit(|s| {
            Ok(s.replace(
                "\n%build\n",
                "\n%build\nsed -i 's/return width + height/return width - height/' area.c\n",
            ))
        })?
        .build(&[])?;
    let rpm = other.rpm.to_string_lossy().into_owned();
    refused(&built.layout, &["--patch", &fix_arg(), "--target", &rpm], &[7])?;
    Ok(())
}

#[test]
fn a_target_from_other_flags() -> Result<()> {
    let built = built()?;
    let other = Layout::new("hello-daemon")?.build(&["--define", "optflags -O0 -g"])?;
    let rpm = other.rpm.to_string_lossy().into_owned();
    let debuginfo = other.debuginfo.to_string_lossy().into_owned();
    // It does not compile, which is not found out any more: the original says it already.
    let fix = built.layout.patch("bad-compile").to_string_lossy().into_owned();
    let args = ["--patch", &fix, "--target", &rpm, "--debuginfo", &debuginfo];
    let options =
        "likely cause: other options of the compiler: only the target has -O0; only the rebuild has -O2";
    let ended = refused(&built.layout, &args, &[7])?.says(options)?;
    ensure!(!ended.stderr.contains("--debuginfo"), "{}", ended.account());
    // Stripped, without anything to find functions by.
    let ended = refused(&built.layout, &["--patch", &fix, "--target", &rpm], &[7])?;
    ended.says("imported names")?.says("with its debuginfo (--debuginfo)")?;
    Ok(())
}

#[test]
fn a_target_that_is_no_elf() -> Result<()> {
    let layout = Layout::new("hello-daemon")?;
    let file = layout.top.path().join("target.txt");
    fs::write(&file, "text\n")?;
    refused(&layout, &["--patch", &fix_arg(), "--target", &file.to_string_lossy()], &[1, 2, 7])?
        .says("target.txt")?;
    Ok(())
}

#[test]
fn unknown_patch() -> Result<()> {
    let root = tempfile::tempdir()?;
    for verb in ["apply", "status", "info", "target", "check", "active", "deactive", "accept", "remove"] {
        let ended = upatch()?.arg("--root").arg(root.path()).args([verb, "NO-SUCH"]).run()?;
        ended.expect_code(&[4])?.is_plain_error()?.says("NO-SUCH")?;
    }
    Ok(())
}

/// Applies a spoiled patch to a running daemon: exit code 5, and the daemon is as it was.
fn does_not_fit(built: &Built, made: &Made) -> Result<()> {
    let _alone = daemon::alone();
    let root = tempfile::tempdir()?;
    let mut daemon = Daemon::start(&built.root, "usr/bin/hello-daemon")?;
    let maps = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps"));
    let mut client = daemon.connect()?;
    client.expect("area 3 4", "area 7", "before")?;
    let before = maps(daemon.pid())?;
    for verb in ["check", "apply"] {
        let ended = upatch()?.arg("--root").arg(root.path()).arg(verb).arg(made.dir()).run()?;
        ended.expect_code(&[5])?.is_plain_error()?;
    }
    client.expect("area 3 4", "area 7", "after the refusal")?;
    ensure!(maps(daemon.pid())? == before, "the process was changed");
    daemon.is_well()
}

fn good_patch(built: &Built) -> Result<Made> {
    let made = make_patch(built, &fix(), "SPOILED", &["--no-rpm"])?;
    made.ended.clone().ok()?;
    Ok(made)
}

#[test]
fn spoiled_patch_files() -> Result<()> {
    let built = built()?;
    let made = good_patch(&built)?;
    let file = made.dir().join("hello-daemon.upatch");
    let good = fs::read(&file)?;
    let mut spoiled = good.clone();
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 0x40;
    for bytes in [&spoiled[..], &good[..good.len() / 2], b"", b"no ELF at all"] {
        fs::write(&file, bytes)?;
        does_not_fit(&built, &made)?;
    }
    fs::remove_file(&file)?;
    does_not_fit(&built, &made)?;
    fs::write(&file, &good)?;

    let manifest = made.dir().join("manifest.yaml");
    let text = fs::read_to_string(&manifest)?;
    let edits: [(&str, &str); 3] =
        [("x86_64", "aarch64"), ("format: 1", "format: 99"), ("SPOILED", "RENAMED")];
    for (from, to) in edits {
        ensure!(text.contains(from), "manifest lacks {from}:\n{text}");
        fs::write(&manifest, text.replace(from, to))?;
        does_not_fit(&built, &made)?;
    }
    for noise in ["", "{", "a: [1, 2", "\0\0\0"] {
        fs::write(&manifest, noise)?;
        does_not_fit(&built, &made)?;
    }
    Ok(())
}

#[test]
fn another_build_of_the_program_is_left_alone() -> Result<()> {
    let built = built()?;
    let made = good_patch(&built)?;
    let other = Layout::new("hello-daemon")?.build(&["--define", "optflags -O1 -g"])?;
    let _alone = daemon::alone();
    let root = tempfile::tempdir()?;
    let mut daemon = Daemon::start(&other.root, "usr/bin/hello-daemon")?;
    let pid = daemon.pid().to_string();
    let upatch = |args: &[&str]| upatch()?.arg("--root").arg(root.path()).args(args).run();
    let dir = made.dir().to_string_lossy().into_owned();
    upatch(&["apply", "--pid", &pid, &dir])?.expect_code(&[5])?.is_plain_error()?;
    daemon.connect()?.expect("area 3 4", "area 7", "other build")?;
    daemon.is_well()
}

#[test]
fn not_permitted() -> Result<()> {
    let built = built()?;
    let made = good_patch(&built)?;
    let _alone = daemon::alone();
    let mut daemon = Daemon::start(&built.root, "usr/bin/hello-daemon")?;
    let pid = daemon.pid().to_string();
    // A copy that nobody may read and run.
    let place = tempfile::tempdir()?;
    Cmd::new("cp").arg("-r").arg(paths::program("upatch")?).arg(made.dir()).arg(place.path()).run()?.ok()?;
    Cmd::new("chmod").args(["-R", "a+rX"]).arg(place.path()).run()?.ok()?;
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let ended = Cmd::new("setpriv")
        .args(nobody)
        .arg(place.path().join("upatch"))
        .args(["apply", "--pid", &pid])
        .arg(place.path().join("SPOILED"))
        .run()?;
    ended.expect_code(&[7])?.is_plain_error()?;
    daemon.connect()?.expect("area 3 4", "area 7", "not permitted")?;
    daemon.is_well()
}

#[test]
fn a_process_that_is_not_there() -> Result<()> {
    let built = built()?;
    let made = good_patch(&built)?;
    let root = tempfile::tempdir()?;
    let ended =
        upatch()?.arg("--root").arg(root.path()).args(["apply", "--pid", "4194303"]).arg(made.dir()).run()?;
    ensure!(ended.code != 0, "{}", ended.account());
    ended.is_plain_error()?.says("4194303")?;
    Ok(())
}

#[test]
fn a_full_disk() -> Result<()> {
    let layout = Layout::new("hello-daemon")?;
    let dir = tempfile::tempdir()?;
    let script = r#"mount -t tmpfs -o size=16k upatch "$1" || exit 99; out=$1; shift; "$@" --output "$out"; rc=$?
        find "$out" -mindepth 1 ! -name report.yaml ! -name '*.log' -printf 'left behind: %p\n'; exit $rc"#;
    let ended = Cmd::new("unshare")
        .args(["-m", "bash", "-c", script, "full"])
        .arg(dir.path())
        .arg(paths::program("upatch-build")?)
        .args(["--no-cache", "--spec"])
        .arg(&layout.spec)
        .arg("--patch")
        .arg(fix())
        .run()?;
    ensure!(!ended.stdout.contains("left behind"), "{}", ended.account());
    ended.expect_code(&[1])?.is_plain_error()?.says("No space left")?;
    Ok(())
}

#[test]
fn an_interrupted_build_leaves_nothing() -> Result<()> {
    // The last one does not end by itself when it is asked to.
    for (name, command) in [
        ("INT", "sleep 60.125"),
        ("TERM", "sleep 60.125"),
        ("TERM", "trap '' TERM; sleep 60.125; sleep 60.125"),
    ] {
        let layout = Layout::new("hello-daemon")?
            .edit(|s| Ok(s.replace("\n%build\n", &format!("\n%build\n{command}\n"))))?;
        let scratch = tempfile::tempdir()?;
        let output = scratch.path().join("out");
        let tmp = scratch.path().join("tmp");
        fs::create_dir(&output)?;
        fs::create_dir(&tmp)?;
        let mut child = upatch_build()?
            .arg("--spec")
            .arg(&layout.spec)
            .arg("--patch")
            .arg(fix())
            .arg("--output")
            .arg(&output)
            .env("TMPDIR", &tmp)
            .spawn_to(&scratch.path().join("log"))?;
        std::thread::sleep(Duration::from_secs(2));
        tests::run::signal(child.id(), name)?;
        let began = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if began.elapsed() > Duration::from_secs(10) {
                let _ = child.kill();
                anyhow::bail!("upatch-build does not end after SIG{name}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        ensure!(!status.success(), "SIG{name}: it ended with success");
        let left = |dir: &Path| -> Result<Vec<_>> {
            Ok(files_below(dir)?
                .into_iter()
                .filter(|p| !p.ends_with("report.yaml") && p.extension().is_none_or(|e| e != "log"))
                .collect())
        };
        ensure!(left(&output)?.is_empty(), "left in --output: {:?}", left(&output)?);
        // The lock of a build place stays: a lock file that is removed can be held twice.
        let scraps: Vec<_> =
            files_below(&tmp)?.into_iter().filter(|p| p.extension().is_none_or(|e| e != "lock")).collect();
        ensure!(scraps.is_empty(), "left in the temporary directory: {scraps:?}");
        let sleeps = Cmd::new("pgrep").args(["-f", "^sleep 60.125$"]).run()?;
        ensure!(sleeps.code != 0, "processes of the build still run: {}", sleeps.stdout);
    }
    Ok(())
}
