//! A patch in a service that runs and serves.

use super::fetch::Fetched;
use super::{Entry, Outcome};
use crate::corpus::Script;
use crate::paths::repository;
use crate::programs::{Made, upatch};
use crate::run::Ended;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Starts the service, patches it while it serves, and takes the patch out again.
pub(super) fn serve(entry: &Entry, fetched: &Fetched, made: &Made, outcome: &mut Outcome) -> Result<()> {
    let Some(script) = script(entry, &fetched.place)? else { return Ok(()) };
    let script = Script::start(&script, &fetched.root)?;
    let work = |stage: &str| Ok::<_, anyhow::Error>(script.probe()?.ok().context(stage.to_owned())?.stdout);
    let before = work("before the patch")?;
    ensure!(!before.trim().is_empty(), "the probe prints nothing");
    ensure!(work("before the patch, again")? == before, "the probe prints something else each time");
    let main = script.pid()?;
    let pids = family(&main, &fetched.root);
    outcome.processes =
        format!("{} processes, {} threads", pids.len(), pids.iter().map(|p| threads(p)).sum::<usize>());

    let state = tempfile::tempdir()?;
    let dir = made.dir().to_string_lossy().into_owned();
    let run = |verb: &str, id: &str| -> Result<Ended> {
        let mut command = upatch()?.arg("--root").arg(state.path()).args([verb, id, "--timeout", "10"]);
        for pid in &pids {
            command = command.args(["--pid", pid]);
        }
        command.run()
    };
    // Whatever is answered, the service goes on.
    let mut wrong = Vec::new();
    let mut look = |stage: &str, was: &str| {
        let gone = pids.iter().filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()).count();
        if gone > 0 {
            wrong.push(format!("{stage}: {gone} processes have ended"));
        }
        match script.probe() {
            Ok(ended) if ended.code == 0 && ended.stdout == was => {}
            Ok(ended) => wrong.push(format!("{stage}: {}", first_difference(&ended, was))),
            Err(error) => wrong.push(format!("{stage}: {error:#}")),
        }
    };
    let applied = run("apply", &dir)?;
    let mut patched = before.clone();
    let mut no_effect = false;
    if entry.shows && applied.code == 0 {
        patched = work("with the patch")?;
        no_effect = patched == before;
    }
    look("with the patch", &patched);
    let taken = run("deactive", "PATCH")?;
    look("after deactive", &before);
    let again = run("active", "PATCH")?;
    look("active again", &patched);
    let removed = run("remove", "PATCH")?;
    look("after remove", &before);
    if no_effect {
        wrong.push("the fix shows nothing".into());
    }

    let ends = [applied, taken, again, removed];
    outcome.live = match (wrong.is_empty(), ends.iter().find(|e| e.code != 0)) {
        (false, _) => "WRONG".into(),
        (true, None) => "patched".into(),
        (true, Some(bad)) => format!("exit {}", bad.code),
    };
    if let Some(bad) = ends.iter().find(|e| e.code != 0) {
        outcome.why = bad.stderr.lines().find(|l| !l.is_empty()).unwrap_or_default().to_owned();
    }
    if !wrong.is_empty() {
        outcome.why = wrong.join("; ");
    }
    Ok(())
}

/// The service as a script that the drivers' common part runs.
fn script(entry: &Entry, place: &Path) -> Result<Option<PathBuf>> {
    let drivers = repository().join("tests/drivers");
    if let Some(driver) = &entry.driver {
        return Ok(Some(drivers.join(format!("{driver}.sh"))));
    }
    let (Some(start), Some(probe)) = (&entry.start, &entry.probe) else { return Ok(None) };
    let lib = drivers.join("lib.sh");
    let text = format!(
        "#!/bin/bash\n. '{}'\nexport LD_LIBRARY_PATH=\"$1/usr/lib64\"\nstart() {{\n{start}\n}}\nprobe() \
         {{\n{probe}\n}}\nrun \"$@\"\n",
        lib.display()
    );
    let path = place.join("service.sh");
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(Some(path))
}

/// The process and those below it that run a program of the package.
fn family(main: &str, root: &Path) -> Vec<String> {
    let mut all = vec![main.to_owned()];
    let mut at = 0;
    while let Some(pid) = all.get(at).cloned() {
        at += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let is_ours = |child: &&str| {
                let exe = fs::read_link(format!("/proc/{child}/exe"));
                exe.is_ok_and(|exe| {
                    // Where it was unpacked, or where it is installed as the process sees it.
                    let below = exe.strip_prefix("/").unwrap_or(&exe);
                    exe.starts_with(root) || root.join(below).is_file()
                })
            };
            all.extend(children.split_whitespace().filter(is_ours).map(str::to_owned));
        }
    }
    all
}

fn threads(pid: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |tasks| tasks.count())
}

fn first_difference(ended: &Ended, before: &str) -> String {
    let (is, was): (Vec<&str>, Vec<&str>) = (ended.stdout.lines().collect(), before.lines().collect());
    let at = (0..is.len().max(was.len())).find(|n| is.get(*n) != was.get(*n)).unwrap_or(0);
    let line = |lines: &[&str]| lines.get(at).map_or("(end)".to_owned(), |l| format!("{l:?}"));
    format!("exit code {}, {} instead of {}", ended.code, line(&is), line(&was))
}
