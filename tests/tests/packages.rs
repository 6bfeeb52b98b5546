//! Each patch of `testdata/`: made, applied to a running daemon, taken back. What a package built with the
//! patch answers is checked by `testdata.rs`.

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tests::cases::{Case, Cases};
use tests::daemon::{self, Daemon};
use tests::package::{Built, Layout};
use tests::programs::{Made, make_patch, upatch};

const PACKAGES: [&str; 2] = ["hello-daemon", "hello-cxx"];

/// One package and its shipped build, made by the first test that needs it.
struct Package {
    cases: Cases,
    shipped: Mutex<OnceLock<Arc<Built>>>,
}

impl Package {
    fn shipped(&self) -> Result<Arc<Built>> {
        let cell = self.shipped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = cell.get() {
            return Ok(built.clone());
        }
        let built = Arc::new(Layout::new(&self.cases.package)?.build(&[])?);
        let _ = cell.set(built.clone());
        Ok(built)
    }
}

fn main() -> std::process::ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(2);
    let mut trials = Vec::new();
    for name in PACKAGES {
        let package = match Cases::read(name) {
            Ok(cases) => Arc::new(Package { cases, shipped: Mutex::default() }),
            Err(error) => {
                trials.push(Trial::test(name, move || Err(Failed::from(format!("{error:#}")))));
                continue;
            }
        };
        for case in package.cases.cases.clone() {
            let package = package.clone();
            trials.push(Trial::test(format!("{name}::{}", case.name), move || {
                check(&package, &case).map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

fn check(package: &Package, case: &Case) -> Result<()> {
    let shipped = package.shipped()?;
    let patch = shipped.layout.patch(&case.name);
    let name = format!("T_{}", case.name.replace('-', "_"));
    let made = make_patch(&shipped, &patch, &name, &[])?;
    let code = made.ended.clone().expect_code(&case.build)?.code;
    made.report()?;
    for text in &case.says {
        if code != 0 {
            made.ended.clone().says(text)?;
        }
    }
    if code != 0 {
        made.ended.clone().is_plain_error()?;
        return made.nothing_written();
    }
    check_results(package, case, &made)?;
    live(package, case, &shipped, &made)
}

fn check_results(package: &Package, case: &Case, made: &Made) -> Result<()> {
    let mut elfs = case.elf.clone();
    elfs.sort();
    ensure!(made.elfs()? == elfs, "patched ELF files {:?} instead of {elfs:?}", made.elfs()?);
    ensure!(made.dir().join("manifest.yaml").is_file(), "no manifest.yaml");
    if !case.changed.is_empty() {
        case.check_changed(&made.reported("changed")?)?;
    }
    let stem = format!("patch-{}-1.0-1-{}-1-1", package.cases.package, made.name);
    for end in [format!("{}.rpm", std::env::consts::ARCH), "src.rpm".to_owned()] {
        let path = made.output.path().join(format!("{stem}.{end}"));
        ensure!(path.is_file(), "{} is missing", path.display());
    }
    Ok(())
}

/// The running daemon: old code, patched, old code again.
fn live(package: &Package, case: &Case, shipped: &Built, made: &Made) -> Result<()> {
    let _alone = daemon::alone();
    let root = tempfile::tempdir()?;
    let run = |args: &[&str]| upatch()?.arg("--root").arg(root.path()).args(args).run();
    let dir = made.dir().to_string_lossy().into_owned();
    let mut daemon = Daemon::start(&shipped.root, &package.cases.program)?;
    let mut kept = daemon.connect()?;
    for phase in 0..3 {
        let when = ["before", "patched", "taken back"][phase];
        match phase {
            1 => {
                run(&["apply", &dir])?.ok()?;
                let list = run(&["list"])?.ok()?;
                ensure!(
                    list.stdout.contains(&made.name) && list.stdout.contains("ACTIVED"),
                    "{}",
                    list.account()
                );
                let status = run(&["status", &made.name])?.ok()?;
                ensure!(status.stdout.contains(&daemon.pid().to_string()), "{}", status.account());
            }
            2 => {
                run(&["deactive", &made.name])?.ok()?;
                let list = run(&["list"])?.ok()?;
                ensure!(list.stdout.contains("DEACTIVED"), "{}", list.account());
            }
            _ => {}
        }
        daemon.is_well().context(when)?;
        let mut fresh = daemon.connect()?;
        for probe in &case.probes {
            let answer = if phase == 1 { &probe.after } else { &probe.before };
            kept.expect(&probe.ask, answer, when)?;
            fresh.expect(&probe.ask, answer, &format!("{when}, new connection"))?;
        }
        for keep in &case.keep {
            kept.expect(&keep.ask, &keep.answers[phase], when)?;
        }
    }
    let out = daemon.stdout()?;
    let mut lines = out.lines();
    for expected in &case.stdout {
        ensure!(lines.any(|line| line == expected), "standard output lacks {expected:?} in order:\n{out}");
    }
    run(&["remove", &made.name])?.ok()?;
    daemon.is_well()
}
