//! Which processes map an ELF file or carry a patch.

use super::inspect;
use crate::{
    Candidate, ProcessError, Scan, ScannedProcess, TargetId,
    engine::target::{
        cache::{self, Known},
        hidden, identity,
        maps::{self, Mapping},
        memory::Memory,
        modules, status,
    },
    sys::procmap::{self, Runs},
};
use std::{
    fs,
    num::NonZero,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

/// All processes that map one of `targets`, by content (build-id) and not by path; one entry per process and
/// mapping of it. Processes that we may not look into, or that end meanwhile, are left out.
pub fn find_processes(targets: &[TargetId]) -> Vec<Candidate> {
    look_at_all(&pids(), targets, ScanScope::Targets).seen.into_iter().flat_map(|s| s.candidates).collect()
}

/// All processes, or those in `only` (when not empty), that map one of `targets` or carry a patch, in order
/// of their ids: each is looked at once.
pub fn scan(targets: &[TargetId], only: &[i32]) -> Scan {
    let mut pids = if only.is_empty() { pids() } else { only.to_vec() };
    pids.sort_unstable();
    pids.dedup();
    look_at_all(&pids, targets, ScanScope::Images)
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ScanScope {
    /// Targets only.
    Targets,
    /// Patches too.
    Images,
}

/// Processes for which a second thread of ours is worth its start.
const SHARE: usize = 250;
/// Most threads of ours that read.
const MOST: usize = 4;

/// All processes but our own, in order.
fn pids() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let number = |e: std::io::Result<fs::DirEntry>| e.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let mut pids: Vec<i32> = entries.filter_map(number).filter(|pid| *pid != own).collect();
    pids.sort_unstable();
    pids
}

fn look_at_all(pids: &[i32], targets: &[TargetId], look: ScanScope) -> Scan {
    // Only of files that were read themselves: what a process has in its own memory may be forged and must
    // not speak for others.
    let known = cache::known(targets);
    let some = |pids: &[i32]| {
        let mut survey = Scan::default();
        for pid in pids {
            match look_into(*pid, targets, &known, look) {
                Ok(seen) => survey.seen.extend(seen),
                // A process that runs no program cannot have what is looked for.
                Err(ProcessError::NotPermitted { .. }) if status::has_no_program(*pid) => {}
                Err(ProcessError::NotPermitted { .. }) => survey.unseen.push(*pid),
                Err(ProcessError::Gone) if hidden::is(*pid) => survey.unseen.push(*pid),
                Err(_) => {}
            }
        }
        survey
    };
    if pids.len() < 2 * SHARE {
        return some(pids);
    }
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let workers = processors.min(MOST).min(pids.len() / SHARE).max(1);
    let mut survey = Scan::default();
    thread::scope(|scope| {
        let work: Vec<_> = pids
            .chunks(pids.len().div_ceil(workers))
            .map(|pids| thread::Builder::new().spawn_scoped(scope, || some(pids)).map_err(|_| pids))
            .collect();
        for part in work {
            // Where no thread can be started (`RLIMIT_NPROC`), this one does the work.
            let part = match part {
                Ok(handle) => handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(pids) => some(pids),
            };
            survey.seen.extend(part.seen);
            survey.unseen.extend(part.unseen);
        }
    });
    survey
}

/// Looks into one process. `None` when it has nothing of what is looked for.
fn look_into(
    pid: i32,
    targets: &[TargetId],
    known: &Mutex<Known>,
    look: ScanScope,
) -> Result<Option<ScannedProcess>, ProcessError> {
    // Most processes run nothing but files that were seen in others and are not wanted. (A patch is a file of
    // its own.)
    let unwanted = |file: (u64, u64)| {
        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&file).is_some_and(Vec::is_empty)
    };
    let mut maps = match procmap::runs(pid, unwanted) {
        Runs::OnlySuch => return Ok(None),
        Runs::Nothing => Vec::new(),
        Runs::Other | Runs::Unknown => maps::read(pid)?,
    };
    let mut view = pid;
    if maps.is_empty() {
        // A kernel thread, or a process whose first thread has ended.
        view = status::view(pid)?;
        if view == pid {
            return Ok(None);
        }
        maps = maps::read(view)?;
    }
    let mut memory = None;
    let modules = find_targets(view, &maps, targets, known, &mut memory)?;
    // A process that maps nothing wanted is of interest only if it carries a patch, which mostly shows in its
    // map.
    let images = match look {
        ScanScope::Targets => Ok(Vec::new()),
        ScanScope::Images if modules.is_empty() && !inspect::may_carry(&maps) => return Ok(None),
        ScanScope::Images => opened(&mut memory, view).map(|memory| inspect::locate(&maps, memory)),
    };
    if modules.is_empty() && images.as_ref().is_ok_and(Vec::is_empty) {
        return Ok(None);
    }
    let start_time = status::start_time(pid)?;
    let candidates = modules.into_iter().map(|(index, target)| {
        let (path, deleted) = maps[index].path();
        let (path, base) = (PathBuf::from(path), maps[index].start);
        Candidate { pid, start_time, target, path, base, deleted }
    });
    let candidates = candidates.collect();
    Ok(Some(ScannedProcess { pid, start_time, candidates, images }))
}

fn opened(memory: &mut Option<Memory>, pid: i32) -> Result<&Memory, ProcessError> {
    match memory {
        Some(memory) => Ok(memory),
        None => Ok(memory.insert(Memory::open(pid)?)),
    }
}

/// Which mappings (by index) begin a module that is one of `targets` (by index).
fn find_targets(
    view: i32,
    maps: &[Mapping],
    targets: &[TargetId],
    known: &Mutex<Known>,
    memory: &mut Option<Memory>,
) -> Result<Vec<(usize, usize)>, ProcessError> {
    let mut found = Vec::new();
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    for index in (0..maps.len()).filter(|i| modules::begins_module(maps, *i)) {
        let first = &maps[index];
        if first.inode == 0 {
            continue;
        }
        if modules::repeats_start(maps, index)
            && modules::module_at(maps, index, opened(memory, view)?).is_none()
        {
            continue;
        }
        let key = (first.device, first.inode);
        let remembered = lock().get(&key).cloned();
        let matching = match remembered {
            Some(matching) => matching,
            None => {
                if targets.is_empty() {
                    if !first.name.contains("upatch:") {
                        lock().insert(key, Vec::new());
                    }
                    continue;
                }
                let memory = opened(memory, view)?;
                let Some(module) = modules::module_at(maps, index, memory) else { continue };
                let is = |t: &&TargetId| identity::matches(t, &module, memory, view, maps);
                let matching: Vec<usize> =
                    targets.iter().enumerate().filter(|(_, t)| is(t)).map(|(i, _)| i).collect();
                let file = identity::open_file(&module, view, maps);
                if file.is_some_and(|file| identity::file_agrees(&file, &module, memory)) {
                    lock().insert(key, matching.clone());
                }
                matching
            }
        };
        found.extend(matching.into_iter().map(|target| (index, target)));
    }
    Ok(found)
}
