//! Which processes map an ELF file.

use super::{identity, maps, memory::Memory, modules, status};
use crate::{Candidate, ProcessError, TargetId};
use std::{collections::HashMap, fs, path::PathBuf};

/// All processes that map one of `targets`, by content (build-id) and not by path; one entry per process and mapping of
/// it. Processes that we may not look into, or that end meanwhile, are left out.
pub fn find_processes(targets: &[TargetId]) -> Vec<Candidate> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut known = Known::default();
    let mut found: Vec<Candidate> =
        pids.filter(|pid| *pid != own).flat_map(|pid| look_into(pid, targets, &mut known)).collect();
    found.sort_by_key(|c| (c.pid, c.base));
    found
}

/// The mappings of `targets` in one process.
///
/// # Errors
/// [`ProcessError::Gone`], [`ProcessError::NotPermitted`].
pub fn find_in(pid: i32, targets: &[TargetId]) -> Result<Vec<Candidate>, ProcessError> {
    // Tells a process that is gone or not ours from one that just does not map the target.
    maps::read(status::view(pid)?)?;
    Ok(look_into(pid, targets, &mut Known::default()))
}

/// When a process started, in clock ticks since boot.
///
/// # Errors
/// [`ProcessError::Gone`].
pub fn start_time(pid: i32) -> Result<u64, ProcessError> {
    Ok(status::process(pid)?.start_time)
}

/// Which targets a file (device, inode) is, for those read from the file itself: what a process has in its own memory may
/// be forged and must not speak for other processes.
type Known = HashMap<(String, u64), Vec<usize>>;

fn look_into(pid: i32, targets: &[TargetId], known: &mut Known) -> Vec<Candidate> {
    let Ok(mut maps) = maps::read(pid) else { return Vec::new() };
    let mut view = pid;
    if maps.is_empty() {
        // A kernel thread, or a process whose first thread has ended.
        let other = status::view(pid).ok().filter(|v| *v != pid);
        let Some((other, theirs)) = other.and_then(|v| Some((v, maps::read(v).ok()?))) else {
            return Vec::new();
        };
        (view, maps) = (other, theirs);
    }
    let mut memory = None;
    let mut found = Vec::new();
    for index in (0..maps.len()).filter(|i| modules::begins_module(&maps, *i)) {
        let first = &maps[index];
        let key = (first.device.clone(), first.inode);
        if first.inode == 0 || known.get(&key).is_some_and(Vec::is_empty) {
            continue;
        }
        if memory.is_none() {
            memory = Memory::open(view).ok();
        }
        let Some(memory) = &memory else { return Vec::new() };
        let matching = match known.get(&key) {
            Some(matching) => matching.clone(),
            None => {
                let Some(module) = modules::module_at(first, memory) else { continue };
                let is = |t: &&TargetId| identity::matches(t, &module, memory, view, &maps);
                let matching: Vec<usize> =
                    targets.iter().enumerate().filter(|(_, t)| is(t)).map(|(i, _)| i).collect();
                if identity::file_agrees(&module, view, &maps, memory) {
                    known.insert(key, matching.clone());
                }
                matching
            }
        };
        if matching.is_empty() {
            continue;
        }
        let Ok(start_time) = start_time(pid) else { return Vec::new() };
        let (path, deleted) = first.path();
        found.extend(matching.into_iter().map(|target| Candidate {
            pid,
            start_time,
            target,
            path: PathBuf::from(path),
            base: first.start,
            deleted,
        }));
    }
    found
}
