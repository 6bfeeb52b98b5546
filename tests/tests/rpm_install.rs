//! The patch as an RPM: installed, it patches the running service; removed, the old code is back.

use anyhow::{Result, ensure};
use tests::daemon::{self, Daemon};
use tests::overlay::Overlay;
use tests::package::{Built, Layout, files_below};
use tests::programs::{make_patch, upatch_build};

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn main_rpm(output: &std::path::Path) -> Result<String> {
    let rpms = files_below(output)?;
    let is_rpm = |p: &&std::path::PathBuf| text(p).ends_with(".rpm") && !text(p).ends_with(".src.rpm");
    rpms.iter().find(is_rpm).map(|p| text(p)).ok_or_else(|| anyhow::anyhow!("no RPM in {rpms:?}"))
}

#[test]
fn install_patches_and_erase_takes_back() -> Result<()> {
    let built: Built = Layout::new("hello-daemon")?.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-both"), "HP001", &["--cve", "CVE-2026-10001"])?;
    made.ended.clone().ok()?;
    let rpm = main_rpm(made.output.path())?;
    let _alone = daemon::alone();
    let view = Overlay::new()?;
    view.run(&["rpm", "-i", "--nodeps", &text(&built.rpm)])?.ok()?;

    let requires = view.run(&["rpm", "-qpR", &rpm])?.ok()?;
    ensure!(requires.stdout.contains("hello-daemon = 1.0-1"), "{}", requires.account());
    let provides = view.run(&["rpm", "-qp", "--provides", &rpm])?.ok()?;
    ensure!(provides.stdout.contains("CVE-2026-10001"), "{}", provides.account());

    let mut daemon = Daemon::start(&built.root, "usr/bin/hello-daemon")?;
    let mut client = daemon.connect()?;
    client.expect("area 3 4", "area 7", "before")?;
    client.expect("count", "count 1", "before")?;
    view.run(&["rpm", "-i", "--nodeps", &rpm])?.ok()?;
    ensure!(
        view.path("usr/lib/upatch/patches/hello-daemon-1.0-1/HP001/manifest.yaml").is_file(),
        "no manifest installed"
    );
    let debug = "usr/lib/upatch/patches/hello-daemon-1.0-1/HP001/hello-daemon.upatch.debug";
    ensure!(view.path(debug).is_file(), "nothing for debuggers installed");
    client.expect("area 3 4", "area 12", "installed")?;
    client.expect("count", "count 2", "installed")?;
    let list = view.run(&["upatch", "list"])?.ok()?;
    ensure!(list.stdout.contains("HP001") && list.stdout.contains("ACTIVED"), "{}", list.account());
    daemon.is_well()?;

    view.run(&["rpm", "-e", "--nodeps", "patch-hello-daemon-1.0-1-HP001"])?.ok()?;
    client.expect("area 3 4", "area 7", "erased")?;
    client.expect("count", "count 3", "erased")?;
    ensure!(!view.path("usr/lib/upatch/patches/hello-daemon-1.0-1/HP001").exists(), "files left behind");
    let list = view.run(&["upatch", "list"])?.ok()?;
    ensure!(!list.stdout.contains("HP001"), "{}", list.account());
    daemon.is_well()
}

#[test]
fn install_works_where_nothing_runs_and_before_upatch() -> Result<()> {
    let built = Layout::new("hello-daemon")?.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-exe"), "HP002", &[])?;
    made.ended.clone().ok()?;
    let rpm = main_rpm(made.output.path())?;
    let _alone = daemon::alone();
    let view = Overlay::new()?;
    std::fs::remove_file(view.path("usr/bin/upatch"))?;
    view.run(&["rpm", "-i", "--nodeps", &text(&built.rpm)])?.ok()?;
    view.run(&["rpm", "-i", "--nodeps", &rpm])?.ok()?;
    view.run(&["rpm", "-e", "--nodeps", "patch-hello-daemon-1.0-1-HP002"])?.ok()?;
    Ok(())
}

#[test]
fn a_patch_rpm_wants_its_package() -> Result<()> {
    let built = Layout::new("hello-daemon")?.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-exe"), "HP003", &[])?;
    made.ended.clone().ok()?;
    let view = Overlay::new()?;
    let ended = view.run(&["rpm", "-i", &main_rpm(made.output.path())?])?;
    ensure!(ended.code != 0 && ended.stderr.contains("hello-daemon = 1.0-1"), "{}", ended.account());
    Ok(())
}

#[test]
fn the_source_rpm_makes_the_patch_again() -> Result<()> {
    let built = Layout::new("hello-daemon")?.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-exe"), "HP004", &["--srpm-only"])?;
    made.ended.clone().ok()?;
    let all = files_below(made.output.path())?;
    let source = all.iter().find(|p| text(p).ends_with(".src.rpm"));
    let source = source.ok_or_else(|| anyhow::anyhow!("no source RPM in {all:?}"))?;
    ensure!(!made.dir().exists() && main_rpm(made.output.path()).is_err(), "--srpm-only wrote more: {all:?}");
    // Build systems take the one spec file of a source RPM by its name, the first or the last.
    let view = Overlay::new()?;
    let held = view.run(&["rpm", "-qpl", &text(source)])?.ok()?.stdout;
    let specs: Vec<&str> = held.lines().filter(|name| name.ends_with(".spec")).collect();
    ensure!(specs == ["patch-hello-daemon-1.0-1-HP004.spec"], "spec files in the source RPM: {specs:?}");
    view.run(&["rpmbuild", "--define", "_topdir /root/again", "--nodeps", "--rebuild", &text(source)])?
        .ok()?;
    let rpm = main_rpm(&view.path("root/again/RPMS"))?;
    ensure!(rpm.contains("patch-hello-daemon-1.0-1-HP004-1-1."), "{rpm}");
    let again = tempfile::tempdir()?;
    tests::package::unpack(std::path::Path::new(&rpm), again.path())?;
    let dir = again.path().join("usr/lib/upatch/patches/hello-daemon-1.0-1/HP004");
    ensure!(dir.join("hello-daemon.upatch.debug").is_file(), "nothing for debuggers made again");
    let _alone = daemon::alone();
    let root = tempfile::tempdir()?;
    let daemon = Daemon::start(&built.root, "usr/bin/hello-daemon")?;
    tests::programs::upatch()?.arg("--root").arg(root.path()).arg("apply").arg(&dir).run()?.ok()?;
    daemon.connect()?.expect("area 3 4", "area 12", "patch made from the source RPM")
}

/// With `SOURCE_DATE_EPOCH` alone, wherever and whenever the packages are made. One file of macros is of the
/// builder's own.
#[test]
fn the_packages_are_the_same_bytes_again() -> Result<()> {
    let built = Layout::new("hello-daemon")?.build(&[])?;
    let make = |zone: &str, jobs: &str, cache: &[&str]| -> Result<Vec<(String, Vec<u8>)>> {
        let place = tempfile::tempdir()?;
        let copied = |from: &std::path::Path, name: &str| -> Result<std::path::PathBuf> {
            std::fs::copy(from, place.path().join(name))?;
            Ok(place.path().join(name))
        };
        std::fs::create_dir(place.path().join("SOURCES"))?;
        for file in files_below(&built.layout.top.path().join("SOURCES"))? {
            copied(&file, &format!("SOURCES/{}", file.file_name().unwrap_or_default().to_string_lossy()))?;
        }
        std::fs::write(place.path().join("site.macros"), "%site_of_the_builder here\n")?;
        let output = place.path().join("out");
        upatch_build()?
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .env("TZ", zone)
            .dir(place.path())
            .arg("--spec")
            .arg(copied(&built.layout.spec, "hello-daemon.spec")?)
            .arg("--patch")
            .arg(copied(&built.layout.patch("fix-exe"), "fix.patch")?)
            .arg("--target")
            .arg(copied(&built.rpm, "hello-daemon-1.0-1.x86_64.rpm")?)
            .args(["--sourcedir", "SOURCES", "--name", "HP005", "--output", "out", "-j", jobs])
            .args(["--load", "site.macros"])
            .args(cache)
            .run()?
            .ok()?;
        let rpms = files_below(&output)?.into_iter().filter(|file| text(file).ends_with(".rpm"));
        rpms.map(|rpm| {
            let name = rpm.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, std::fs::read(&rpm)?))
        })
        .collect()
    };
    let (first, second) = (make("UTC", "1", &[])?, make("Asia/Tokyo", "2", &["--no-cache"])?);
    let names = |made: &[(String, Vec<u8>)]| made.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    ensure!(first.len() == 2 && names(&first) == names(&second), "{:?} {:?}", names(&first), names(&second));
    for ((name, a), (_, b)) in first.iter().zip(&second) {
        ensure!(a == b, "{name} is not the same again");
    }
    Ok(())
}

/// What these tests rest on: installing does not reach the host, and the processes of the host are seen.
#[test]
fn the_view_is_private() -> Result<()> {
    let built = Layout::new("hello-daemon")?.build(&[])?;
    let view = Overlay::new()?;
    view.run(&["rpm", "-i", "--nodeps", &text(&built.rpm)])?.ok()?;
    ensure!(view.path("usr/bin/hello-daemon").is_file(), "not installed in the view");
    ensure!(!std::path::Path::new("/usr/bin/hello-daemon").exists(), "installed on the host");
    let own = format!("/proc/{}/stat", std::process::id());
    view.run(&["test", "-e", &own])?.ok()?;
    Ok(())
}
