//! The expectations in `testdata/*/cases.yaml` are true of packages built by plain rpmbuild: nothing of
//! upatch is used here, so that a failure elsewhere is one of upatch.

use anyhow::{Context, Result, ensure};
use tests::cases::{Case, Cases};
use tests::daemon::{self, Daemon};
use tests::package::{Built, Layout};

fn answers(cases: &Cases, built: &Built, probes: impl Iterator<Item = (String, String)>) -> Result<()> {
    let _alone = daemon::alone();
    let daemon = Daemon::start(&built.root, &cases.program)?;
    let mut client = daemon.connect()?;
    for (ask, answer) in probes {
        client.expect(&ask, &answer, "cases.yaml")?;
    }
    Ok(())
}

fn check(cases: &Cases, case: &Case, shipped: &Built) -> Result<()> {
    answers(cases, shipped, case.probes.iter().map(|p| (p.ask.clone(), p.before.clone())))?;
    answers(cases, shipped, case.keep.iter().map(|k| (k.ask.clone(), k.answers[0].clone())))?;
    let layout = Layout::new(&cases.package)?;
    let patch = layout.patch(&case.name);
    let cold = layout.with_patch(&patch)?.build(&[]);
    if case.build.contains(&6) {
        ensure!(cold.is_err(), "rpmbuild takes a patch that it must refuse");
        return Ok(());
    }
    answers(cases, &cold?, case.probes.iter().map(|p| (p.ask.clone(), p.cold().to_owned())))
}

fn package(name: &str) -> Result<()> {
    let cases = Cases::read(name)?;
    let shipped = Layout::new(name)?.build(&[])?;
    for case in &cases.cases {
        check(&cases, case, &shipped).with_context(|| case.name.clone())?;
    }
    let listed: Vec<_> = cases.cases.iter().map(|c| format!("{}.patch", c.name)).collect();
    for entry in std::fs::read_dir(tests::paths::testdata(name).join("patches"))? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        ensure!(listed.contains(&file) || file == "hold.patch", "{file} is in no case");
    }
    Ok(())
}

#[test]
#[ignore = "builds every case cold: make testdata"]
fn hello_daemon() -> Result<()> {
    package("hello-daemon")
}

#[test]
#[ignore = "builds every case cold: make testdata"]
fn hello_cxx() -> Result<()> {
    package("hello-cxx")
}

#[test]
fn prep_styles_build() -> Result<()> {
    for style in ["autosetup", "patch-P", "git-am", "by-hand", "no-setup"] {
        Layout::new("hello-daemon")?.with_prep(style)?.build(&[]).context(style)?;
    }
    Ok(())
}
