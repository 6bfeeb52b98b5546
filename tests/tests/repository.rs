//! Patches from a repository that `upatch-repo` makes: dnf finds them by their CVE, installs them into a
//! running service, and takes them back.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use tests::daemon::{self, Daemon};
use tests::overlay::Overlay;
use tests::package::{Built, Layout, files_below};
use tests::paths;
use tests::programs::make_patch;
use tests::run::{Cmd, Ended};

const CVE: &str = "CVE-2026-10001";
const PATCH: &str = "patch-hello-daemon-1.0-1-HP001";

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Says so, where this machine has no dnf.
fn skipped() -> bool {
    let missing = ["dnf", "createrepo_c"].into_iter().find(|tool| {
        !std::env::var_os("PATH").is_some_and(|p| std::env::split_paths(&p).any(|d| d.join(tool).exists()))
    });
    if let Some(tool) = missing {
        eprintln!("SKIPPED: {tool} is not installed");
    }
    missing.is_some()
}

fn upatch_repo(args: &[&str], dir: &Path) -> Result<Ended> {
    Cmd::new(paths::repository().join("rpm/upatch-repo")).args(args).arg(dir).run()
}

/// A package that stands for the rest of a distribution: rpm's database is empty on Debian.
fn base(dir: &Path) -> Result<String> {
    let spec = dir.join("base.spec");
    let head = "Name: base\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n";
    fs::write(&spec, format!("{head}Provides: /bin/sh\n%description\nx\n%files\n"))?;
    let top = format!("_topdir {}", dir.display());
    Cmd::new("rpmbuild").args(["--define", &top, "-bb"]).arg(&spec).run()?.ok()?;
    Ok(text(&dir.join("RPMS/noarch/base-1-1.noarch.rpm")))
}

/// dnf with this repository only.
fn dnf(view: &Overlay, repository: &Path, args: &[&str]) -> Result<Ended> {
    let from = format!("--repofrompath=patches,file://{}", repository.display());
    let mut words = vec!["dnf", "-y", "--setopt=reposdir=/none", "--disablerepo=*", "--enablerepo=patches"];
    words.push(&from);
    words.extend(args);
    view.run(&words)
}

#[test]
fn a_patch_comes_by_its_cve_and_goes_by_undo() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let built: Built = Layout::new("hello-daemon")?.build(&[])?;
    let made = make_patch(&built, &built.layout.patch("fix-both"), "HP001", &["--cve", CVE])?;
    made.ended.clone().ok()?;
    let folder = tempfile::tempdir()?;
    let repository = folder.path().join("repo");
    fs::create_dir(&repository)?;
    for rpm in files_below(made.output.path())?.iter().filter(|f| text(f).ends_with(".x86_64.rpm")) {
        fs::copy(rpm, repository.join(rpm.file_name().context("a name")?))?;
    }
    let said = upatch_repo(&["--severity", &format!("{CVE}=Important")], &repository)?.ok()?;
    ensure!(said.stdout.contains("1 patch package"), "{}", said.account());

    let _alone = daemon::alone();
    let view = Overlay::new()?;
    view.run(&["rpm", "-i", "--nodeps", &base(folder.path())?, &text(&built.rpm)])?.ok()?;
    let mut daemon = Daemon::start(&built.root, "usr/bin/hello-daemon")?;
    let mut client = daemon.connect()?;
    client.expect("area 3 4", "area 7", "before")?;

    let signed = dnf(&view, &repository, &["--setopt=patches.gpgcheck=1", "install", PATCH])?;
    ensure!(signed.code != 0, "an unsigned patch was installed: {}", signed.account());
    client.expect("area 3 4", "area 7", "refused by dnf")?;

    let open = "--nogpgcheck";
    let cve = format!("upatch-cve({CVE})");
    dnf(&view, &repository, &[open, "install", &cve])?.ok()?;
    client.expect("area 3 4", "area 12", "installed by its CVE")?;
    let list = dnf(&view, &repository, &["updateinfo", "list", "--all"])?.ok()?;
    ensure!(list.stdout.contains("Important/Sec."), "{}", list.account());
    dnf(&view, &repository, &[open, "history", "undo", "last"])?.ok()?;
    client.expect("area 3 4", "area 7", "undone")?;
    daemon.is_well()
}

#[test]
fn a_damaged_patch_stays_out() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    upatch_repo(&[], folder.path())?.expect_code(&[1])?.says("no patch RPM")?;
    fs::write(folder.path().join("patch-x-1-1-CVE-1-1.x86_64.rpm"), "no RPM at all")?;
    upatch_repo(&[], folder.path())?.expect_code(&[1])?.says("is no RPM")?;
    ensure!(!folder.path().join("repodata").exists(), "half a repository was written");
    upatch_repo(&["--severity", "CVE-1=Bad"], folder.path())?.expect_code(&[2])?;
    Ok(())
}
