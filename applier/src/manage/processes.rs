//! The real engine, and what it does not tell about processes.

use super::backend::{Backend, Survey, SurveyedProcess};
use crate::{
    CheckReport, LoadedPatch, Options, Outcome, ProcessError, TargetId,
    engine::target::{hidden, procfile},
    kernel::{Kernel, RealKernel},
    state::ProcessKey,
};
use patchfile::Uuid;
use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The engine of this crate, on the processes of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessBackend;

/// All process ids.
fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<i32> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    found.sort_unstable();
    found
}

/// The name of a process, fit for a terminal.
pub(crate) fn comm(pid: i32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "?".into(), |name| printable(String::from_utf8_lossy(&name).trim_end()))
}

/// A process chooses its name: nothing in it may move a terminal's cursor.
pub(crate) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// See [`Options::patience`]: what a process may at most be slower by at a try that fails.
const PATIENCE: Duration = Duration::from_millis(2);

/// See [`Options::wait`]: for how long one try takes up a process that is in use meanwhile.
const WAIT: Duration = Duration::from_millis(300);

/// What is spent on a process in this way at first, and of the time after that: the service comes by every
/// second, at processes too that never get out of the way.
const SPENT: (Duration, u32) = (Duration::from_secs(6), 100);

type FailedQuiesces = HashMap<ProcessKey, (Instant, Duration)>;

/// When a process was first tried in vain, and for how long in all.
static FAILED_QUIESCES: Mutex<Option<FailedQuiesces>> = Mutex::new(None);

fn options(process: ProcessKey, lazy: bool) -> Options {
    Options { lazy, start_time: Some(process.start), patience: PATIENCE, ..Options::default() }
}

/// How long a process may be waited for: not at the first try, which shows whether there is anything to wait
/// for; and one among many less than one alone.
fn allowance(known: &FailedQuiesces, process: ProcessKey) -> Duration {
    let hopeful = |(first, spent): &(Instant, Duration)| *spent < SPENT.0 + first.elapsed() / SPENT.1;
    if !known.get(&process).is_some_and(hopeful) {
        return Duration::ZERO;
    }
    WAIT / u32::try_from(known.len() / 2).unwrap_or(u32::MAX).max(1)
}

/// A change that may wait for threads to get out of the way, as long as that has some prospect.
fn waiting(
    process: ProcessKey,
    lazy: bool,
    change: impl FnOnce(&Options) -> Result<Outcome, ProcessError>,
) -> Result<Outcome, ProcessError> {
    let known = || FAILED_QUIESCES.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = known().as_ref().map_or(Duration::ZERO, |known| allowance(known, process));
    let began = Instant::now();
    let result = change(&Options { wait, ..options(process, lazy) });
    let mut known = known();
    let known = known.get_or_insert_default();
    if matches!(result, Ok(Outcome::Busy(_))) {
        if known.len() > MANY {
            known.clear();
        }
        known.entry(process).or_insert((began, Duration::ZERO)).1 += began.elapsed();
    } else {
        known.remove(&process);
    }
    result
}

/// More processes than this are not remembered.
const MANY: usize = 1024;

impl Backend for ProcessBackend {
    fn kernel(&self) -> Kernel<'_> {
        Kernel { root: Path::new("/"), ops: &RealKernel }
    }

    fn survey(&self, wanted: &[TargetId], only: &[i32]) -> Survey {
        let found = crate::scan(wanted, only);
        let mut survey = Survey { unseen: found.unseen, ..Survey::default() };
        if only.is_empty() {
            survey.hidden = hidden::some_are();
            if hidden::none_is() {
                survey.unseen.clear();
            }
        }
        for seen in found.seen {
            let blocks = match seen.images {
                Ok(mut blocks) => {
                    blocks.iter_mut().for_each(|b| b.control.name = printable(&b.control.name));
                    Ok(blocks)
                }
                Err(ProcessError::Gone | ProcessError::Zombie) => continue,
                Err(other) => Err(other.to_string()),
            };
            let mut targets = Vec::new();
            for candidate in seen.candidates {
                if !targets.contains(&candidate.target) {
                    targets.push(candidate.target);
                }
            }
            if targets.is_empty() && blocks.is_err() {
                survey.unseen.push(seen.pid);
            } else if !targets.is_empty() || blocks.as_ref().is_ok_and(|b| !b.is_empty()) {
                let key = ProcessKey { pid: seen.pid, start: seen.start_time };
                survey.processes.push(SurveyedProcess { key, comm: comm(seen.pid), targets, blocks });
            }
        }
        survey
    }

    fn apply(
        &self,
        process: ProcessKey,
        patch: &LoadedPatch,
        older: &[Uuid],
        lazy: bool,
    ) -> Result<Outcome, ProcessError> {
        waiting(process, lazy, |options| crate::replace(process.pid, older, patch, options))
    }

    fn deactivate(&self, process: ProcessKey, uuid: Uuid, lazy: bool) -> Result<Outcome, ProcessError> {
        waiting(process, lazy, |options| crate::deactivate(process.pid, uuid, options))
    }

    fn check(
        &self,
        process: ProcessKey,
        patch: &LoadedPatch,
        lazy: bool,
    ) -> Result<CheckReport, ProcessError> {
        crate::check(process.pid, patch, &options(process, lazy))
    }

    fn is_real(&self) -> bool {
        true
    }

    fn exists(&self, pid: i32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists() || hidden::is(pid)
    }

    fn key(&self, pid: i32) -> Option<ProcessKey> {
        Some(ProcessKey { pid, start: crate::start_time(pid).ok()? })
    }

    fn alive(&self, process: ProcessKey) -> bool {
        crate::start_time(process.pid).is_ok_and(|start| start == process.start)
    }

    fn replaced_files(&self) -> Vec<(i32, String, Vec<String>)> {
        super::replaced::files(&pids())
    }

    fn namesakes(&self, name: &str) -> Vec<(i32, String)> {
        let mut found = Vec::new();
        for pid in pids() {
            let Ok(maps) = procfile::text(&format!("/proc/{pid}/maps")) else { continue };
            let path = maps.lines().filter_map(|l| l.split_once('/').map(|(_, rest)| rest)).find(|path| {
                let path = path.strip_suffix(" (deleted)").unwrap_or(path);
                path.rsplit('/').next() == Some(name)
            });
            if let Some(path) = path {
                found.push((pid, format!("/{}", printable(path))));
            }
        }
        found
    }
}
