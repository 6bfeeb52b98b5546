//! The ways to say what is patched: spec styles, source RPM, source tree, git.

use anyhow::{Result, ensure};
use std::path::Path;
use tests::daemon::{self, Daemon};
use tests::package::{Layout, files_below};
use tests::paths;
use tests::programs::{make_patch, upatch_build};
use tests::run::Cmd;

fn prep_style(style: &str) -> Result<()> {
    let built = Layout::new("hello-daemon")?.with_prep(style)?.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-exe"), "P", &["--no-rpm"])?;
    made.ended.clone().ok()?;
    daemon::multiplies(&built.root, "usr/bin/hello-daemon", &made.dir())
}

#[test]
fn prep_autosetup() -> Result<()> {
    prep_style("autosetup")
}

#[test]
fn prep_patch_with_number() -> Result<()> {
    prep_style("patch-P")
}

#[test]
fn prep_git_am() -> Result<()> {
    prep_style("git-am")
}

#[test]
fn prep_by_hand() -> Result<()> {
    prep_style("by-hand")
}

#[test]
fn prep_without_setup() -> Result<()> {
    prep_style("no-setup")
}

#[test]
fn source_rpm() -> Result<()> {
    let layout = Layout::new("hello-daemon")?;
    layout.rpmbuild(&["-bs"])?;
    let built = layout.build(&[])?;
    let srpm = files_below(&built.layout.top.path().join("SRPMS"))?;
    let out = tempfile::tempdir()?;
    upatch_build()?
        .arg("--srpm")
        .arg(srpm.first().ok_or_else(|| anyhow::anyhow!("no source RPM"))?)
        .arg("--patch")
        .arg(built.layout.patch("fix-exe"))
        .arg("--target")
        .arg(&built.rpm)
        .arg("--output")
        .arg(out.path())
        .run()?
        .ok()?;
    // No --name: the CVE id of the patch's subject.
    daemon::multiplies(&built.root, "usr/bin/hello-daemon", &out.path().join("CVE-2026-10001"))
}

/// A copy of the sources, built, for tests without rpm; the own patch is not in it.
fn tree() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    Cmd::new("cp")
        .args(["-r"])
        .arg(paths::testdata("hello-daemon").join("src"))
        .arg(dir.path().join("hello"))
        .run()?
        .ok()?;
    Ok(dir)
}

/// Every file below a folder with its bytes and time.
fn state_of(dir: &Path) -> Result<Vec<(std::path::PathBuf, Vec<u8>, std::time::SystemTime)>> {
    let mut all = Vec::new();
    for path in files_below(dir)? {
        let bytes = if path.is_symlink() { Vec::new() } else { std::fs::read(&path)? };
        all.push((path.clone(), bytes, path.symlink_metadata()?.modified()?));
    }
    Ok(all)
}

#[test]
fn source_tree_is_left_untouched() -> Result<()> {
    let dir = tree()?;
    let source = dir.path().join("hello");
    let target = dir.path().join("built");
    Cmd::new("cp").arg("-r").arg(&source).arg(&target).run()?.ok()?;
    Cmd::new("make").arg("-C").arg(&target).run()?.ok()?;
    let before = state_of(&source)?;
    let out = tempfile::tempdir()?;
    upatch_build()?
        .arg("--source")
        .arg(&source)
        .args(["--build", "make", "--name", "TREE", "--patch"])
        .arg(paths::testdata("hello-daemon").join("patches/fix-exe.patch"))
        .arg("--output")
        .arg(out.path())
        .arg("--target")
        .arg(target.join("hello-daemon"))
        .run()?
        .ok()?;
    ensure!(state_of(&source)? == before, "the source tree was changed");
    ensure!(out.path().join("TREE/manifest.yaml").is_file(), "no patch directory");
    let rpms: Vec<_> =
        files_below(out.path())?.into_iter().filter(|p| p.extension().is_some_and(|e| e == "rpm")).collect();
    ensure!(rpms.is_empty(), "--source wrote RPMs unasked: {rpms:?}");
    // The library lies beside the program in a source tree.
    let root = dir.path().join("root");
    Cmd::new("make")
        .arg("-C")
        .arg(&target)
        .arg("install")
        .arg(format!("DESTDIR={}", root.display()))
        .run()?
        .ok()?;
    daemon::multiplies(&root, "usr/bin/hello-daemon", &out.path().join("TREE"))
}

/// A tree that was configured, so that it holds its own path, and is built with `rule`.
fn configured(rule: &str) -> Result<tests::run::Ended> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("tree");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("one.c"), "int one(void)\n{\n\treturn 1;\n}\n")?;
    std::fs::write(source.join("main.c"), "int one(void);\nint main(void)\n{\n\treturn one();\n}\n")?;
    std::fs::write(source.join("Makefile"), format!("TOP = {}\nall:\n{rule}", source.display()))?;
    let fix = dir.path().join("fix.patch");
    let header = "--- a/one.c\n+++ b/one.c\n@@ -1,4 +1,4 @@\n";
    std::fs::write(&fix, format!("{header} int one(void)\n {{\n-\treturn 1;\n+\treturn 2;\n }}\n"))?;
    upatch_build()?
        .arg("--source")
        .arg(&source)
        .args(["--build", "make", "--name", "TREE", "--patch"])
        .arg(&fix)
        .arg("--output")
        .arg(dir.path().join("out"))
        .run()
}

#[test]
fn a_build_that_reads_the_tree_itself_is_told() -> Result<()> {
    let compiled = configured("\tgcc -g -O2 -o one $(TOP)/one.c main.c\n")?;
    ensure!(compiled.code == 1, "{compiled:?}");
    ensure!(compiled.stderr.contains("one.c, which the fix does not reach"), "{}", compiled.stderr);
    // What the build copies is not recorded, but it says where it looks for headers.
    let copied = configured("\tcp $(TOP)/one.c two.c\n\tgcc -g -O2 -I$(TOP) -o one two.c main.c\n")?;
    ensure!(copied.code == 1, "{copied:?}");
    ensure!(copied.stderr.contains("what is there is without the fix"), "{}", copied.stderr);
    // A header of the tree that the fix does not change is as good as its copy.
    let header = configured("\tgcc -g -O2 -I$(TOP) -o one one.c main.c\n")?;
    header.ok()?;
    Ok(())
}

#[test]
fn a_program_that_an_unknown_linker_made_is_told() -> Result<()> {
    let startup = "/usr/lib/x86_64-linux-gnu/crt1.o /usr/lib/x86_64-linux-gnu/crti.o -lc /usr/lib/x86_64-linux-gnu/crtn.o";
    let link = format!(
        "/usr/bin/ld.bfd -dynamic-linker /lib64/ld-linux-x86-64.so.2 -L/usr/lib/x86_64-linux-gnu {startup}"
    );
    let both = configured(&format!(
        "\tgcc -g -O2 -c one.c\n\tgcc -g -O2 -c main.c\n\t{link} -o unseen main.o one.o\n\tgcc -o seen main.o one.o\n\tcp seen copy\n"
    ))?;
    ensure!(both.code == 0, "{both:?}");
    let warning = "ELF file not made by a recorded link: unseen";
    ensure!(
        both.stderr.contains(warning) && both.stderr.matches("recorded link").count() == 1,
        "{}",
        both.stderr
    );
    Ok(())
}

#[test]
fn a_change_of_how_it_is_linked_is_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("tree");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("one.c"), "int one(void) { return 1; }\nint two(void) { return 2; }\n")?;
    std::fs::write(source.join("one.map"), "{\nglobal: one; two;\nlocal: *;\n};\n")?;
    let rule = "all:\n\tgcc -g -O2 -fPIC -shared -Wl,--version-script,one.map -o libone.so one.c\n";
    std::fs::write(source.join("Makefile"), rule)?;
    let fix = dir.path().join("fix.patch");
    let header = "--- a/one.map\n+++ b/one.map\n@@ -1,4 +1,4 @@\n";
    std::fs::write(&fix, format!("{header} {{\n-global: one; two;\n+global: one;\n local: *;\n }};\n"))?;
    let made = upatch_build()?
        .arg("--source")
        .arg(&source)
        .args(["--build", "make", "--name", "MAP", "--patch"])
        .arg(&fix)
        .arg("--output")
        .arg(dir.path().join("out"))
        .run()?;
    ensure!(made.code == 4, "{made:?}");
    ensure!(made.stderr.contains("linked in another way"), "{}", made.stderr);
    Ok(())
}

#[test]
fn git_range() -> Result<()> {
    from_git("HEAD~1..HEAD", |_| Ok(()))
}

/// A fix that nobody has committed; a source file that git does not know yet is part of it, what a build left
/// is not.
#[test]
fn git_up_to_the_work_tree() -> Result<()> {
    from_git("HEAD", |git| {
        git(&["tag", "with-the-fix"])?;
        git(&["reset", "-q", "HEAD~1"]).map(drop)
    })
}

type Git<'a> = &'a dyn Fn(&[&str]) -> Result<tests::run::Ended>;

fn from_git(range: &str, prepare: impl Fn(Git<'_>) -> Result<()>) -> Result<()> {
    let dir = tree()?;
    let source = dir.path().join("hello");
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
        Cmd::new("git").args(who).args(args).dir(&source).run()?.ok()
    };
    git(&["init", "-q"])?;
    git(&["add", "."])?;
    git(&["commit", "-qm", "base"])?;
    git(&["apply", &paths::testdata("hello-daemon").join("patches/fix-exe.patch").to_string_lossy()])?;
    git(&["commit", "-qam", "area: multiply"])?;
    let base = String::from_utf8_lossy(git(&["rev-parse", "HEAD~1"])?.stdout.as_bytes()).trim().to_owned();
    prepare(&git)?;
    std::fs::write(source.join("not-in-git"), "left alone")?;
    std::fs::write(source.join("left-over.o"), "no object")?;
    let before = state_of(&source)?;
    let target = dir.path().join("built");
    Cmd::new("bash")
        .args([
            "-c",
            "mkdir \"$2\" && git -C \"$1\" archive \"$3\" | tar -x -C \"$2\" && make -C \"$2\"",
            "sh",
        ])
        .arg(&source)
        .arg(&target)
        .arg(&base)
        .run()?
        .ok()?;
    let out = tempfile::tempdir()?;
    upatch_build()?
        .arg("--source")
        .arg(&source)
        .args(["--build", "make", "--name", "GIT", "--git", range, "--output"])
        .arg(out.path())
        .arg("--target")
        .arg(target.join("hello-daemon"))
        .run()?
        .ok()?;
    ensure!(state_of(&source)? == before, "the git tree was changed");
    let root = dir.path().join("root");
    Cmd::new("make")
        .arg("-C")
        .arg(&target)
        .arg("install")
        .arg(format!("DESTDIR={}", root.display()))
        .run()?
        .ok()?;
    daemon::multiplies(&root, "usr/bin/hello-daemon", &out.path().join("GIT"))
}

/// Run from within the tree with nothing but what is needed: the results are beside it, named after the fix,
/// and the next run leaves them there.
#[test]
fn results_are_named_after_the_fix_and_stay_out_of_the_tree() -> Result<()> {
    let dir = tree()?;
    let source = dir.path().join("hello");
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
        Cmd::new("git").args(who).args(args).dir(&source).run()?.ok()
    };
    let fix = |name: &str| paths::testdata("hello-daemon").join(format!("patches/{name}.patch"));
    git(&["init", "-q"])?;
    git(&["add", "."])?;
    git(&["commit", "-qm", "base"])?;
    git(&["checkout", "-qb", "fix/area-multiplies"])?;
    git(&["apply", &fix("fix-exe").to_string_lossy()])?;
    let run = |args: &[&str]| {
        upatch_build()?.dir(&source).args(["--source", ".", "--build", "make"]).args(args).run()
    };
    let files = || -> Result<Vec<_>> {
        Ok(files_below(&source)?.into_iter().filter(|f| !f.starts_with(source.join(".git"))).collect())
    };
    let before = files()?;
    run(&["--git", "HEAD"])?.ok()?;
    let results = dir.path().join("hello-patch");
    ensure!(results.join("fix-area-multiplies/manifest.yaml").exists(), "no patch in {}", results.display());
    git(&["checkout", "-q", "."])?;
    git(&["checkout", "-qb", "next"])?;
    git(&["apply", &fix("bad-compile").to_string_lossy()])?;
    run(&["--git", "HEAD"])?.expect_code(&[6])?;
    git(&["checkout", "-q", "."])?;
    ensure!(files()? == before, "something is in the tree that was not there");
    for kept in ["report.yaml", "report-fix-area-multiplies.yaml", "upatch-build-next-patched.log"] {
        ensure!(results.join(kept).exists(), "no {kept}");
    }
    Ok(())
}

#[test]
fn a_patch_is_applied_when_it_is_made() -> Result<()> {
    let dir = tree()?;
    let (source, root) = (dir.path().join("hello"), dir.path().join("root"));
    let install = format!("DESTDIR={}", root.display());
    Cmd::new("make").arg("-C").arg(&source).args(["install", &install]).run()?.ok()?;
    let _alone = daemon::alone();
    let mut daemon = Daemon::start(&root, "usr/bin/hello-daemon")?;
    // What upatch keeps of it is not to stay on this machine.
    let script = "mount -t tmpfs upatch /var/lib && mount -t tmpfs upatch /run && exec \"$@\"";
    let ended = Cmd::new("unshare")
        .args(["-m", "bash", "-c", script, "made"])
        .arg(paths::program("upatch-build")?)
        .arg("--source")
        .arg(&source)
        .args(["--build", "make", "--apply", &daemon.pid().to_string(), "--output"])
        .arg(dir.path().join("out"))
        .arg("--target")
        .arg(root.join("usr/bin/hello-daemon"))
        .arg("--patch")
        .arg(paths::testdata("hello-daemon").join("patches/fix-exe.patch"))
        .run()?
        .ok()?;
    ensure!(ended.stdout.contains("1 process patched"), "{}", ended.account());
    daemon.connect()?.expect("area 3 4", "area 12", "after the patch was made")?;
    daemon.is_well()
}

#[test]
fn recording_leaves_the_build_id_alone() -> Result<()> {
    let built = Layout::new("hello-daemon")?.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-exe"), "ID", &["--no-rpm"])?;
    made.ended.clone().ok()?;
    let report = std::fs::read_to_string(made.output.path().join("report.yaml"))?;
    ensure!(report.contains("identical"), "fidelity is not identical:\n{report}");
    Ok(())
}

#[test]
fn a_compiler_called_by_its_full_path_is_recorded() -> Result<()> {
    let layout = Layout::new("hello-daemon")?
        .edit(|spec| Ok(spec.replace("CFLAGS=\"%{optflags}\"", "CC=/usr/bin/gcc CFLAGS=\"%{optflags}\"")))?;
    let built = layout.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-exe"), "ABS", &["--no-rpm"])?;
    made.ended.clone().ok()?;
    daemon::multiplies(&built.root, "usr/bin/hello-daemon", &made.dir())
}
