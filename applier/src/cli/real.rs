//! The real engine, and what it does not tell about processes.

use super::engine::{Engine, Process, Survey};
use crate::{CheckReport, LoadedPatch, Options, Outcome, ProcessError, TargetId, state::ProcessKey};
use patchfile::Uuid;
use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

/// Part of the name of every mapping of a patch (`/memfd:upatch:…`, `[anon:upatch:…]`).
const MAPPING: &str = "upatch:";

/// The engine of this crate, on the processes of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealEngine;

/// All process ids, or those asked for that exist.
fn pids(only: &[i32]) -> Vec<i32> {
    if !only.is_empty() {
        let mut found: Vec<_> =
            only.iter().copied().filter(|p| Path::new(&format!("/proc/{p}")).exists()).collect();
        found.sort_unstable();
        found.dedup();
        return found;
    }
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<i32> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    found.sort_unstable();
    found
}

fn comm(pid: i32) -> String {
    fs::read(format!("/proc/{pid}/comm")).map_or_else(
        |_| "?".into(),
        // A process chooses its name: nothing in it may move a terminal's cursor.
        |b| {
            String::from_utf8_lossy(&b)
                .trim_end()
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect()
        },
    )
}

fn options(process: ProcessKey, lazy: bool) -> Options {
    Options { lazy, start_time: Some(process.start), ..Options::default() }
}

impl Engine for RealEngine {
    fn survey(&self, wanted: &[TargetId], only: &[i32]) -> Survey {
        let mut mapped: BTreeMap<i32, (u64, Vec<usize>)> = BTreeMap::new();
        if !wanted.is_empty() {
            let candidates = if only.is_empty() {
                crate::find_processes(wanted)
            } else {
                only.iter().flat_map(|pid| crate::find_in(*pid, wanted).unwrap_or_default()).collect()
            };
            for found in candidates {
                let (_, targets) = mapped.entry(found.pid).or_insert((found.start_time, Vec::new()));
                if !targets.contains(&found.target) {
                    targets.push(found.target);
                }
            }
        }
        let mut survey = Survey::default();
        for pid in pids(only) {
            let found = mapped.remove(&pid);
            // A process that maps nothing wanted is of interest only if it carries a patch, which shows in its maps.
            if found.is_none() {
                match fs::read(format!("/proc/{pid}/maps")) {
                    Ok(maps) if contains(&maps, MAPPING.as_bytes()) => {}
                    Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                        survey.unseen.push(pid);
                        continue;
                    }
                    _ => continue,
                }
            }
            let blocks = match crate::inspect(pid) {
                Ok(blocks) => Ok(blocks),
                Err(ProcessError::Gone | ProcessError::Zombie) => continue,
                Err(ProcessError::NotLoaded) => Ok(Vec::new()),
                Err(other) => Err(other.to_string()),
            };
            let (start, targets) = match found {
                Some(found) => found,
                None => match crate::start_time(pid) {
                    Ok(start) => (start, Vec::new()),
                    Err(_) => continue,
                },
            };
            if !targets.is_empty() || blocks.as_ref().is_ok_and(|b| !b.is_empty()) {
                survey.processes.push(Process {
                    key: ProcessKey { pid, start },
                    comm: comm(pid),
                    targets,
                    blocks,
                });
            }
        }
        survey
    }

    fn apply(&self, process: ProcessKey, patch: &LoadedPatch, lazy: bool) -> Result<Outcome, ProcessError> {
        crate::apply(process.pid, patch, &options(process, lazy))
    }

    fn deactivate(&self, process: ProcessKey, uuid: Uuid, lazy: bool) -> Result<Outcome, ProcessError> {
        crate::deactivate(process.pid, uuid, &options(process, lazy))
    }

    fn check(
        &self,
        process: ProcessKey,
        patch: &LoadedPatch,
        lazy: bool,
    ) -> Result<CheckReport, ProcessError> {
        crate::check(process.pid, patch, &options(process, lazy))
    }

    fn exists(&self, pid: i32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    fn alive(&self, process: ProcessKey) -> bool {
        crate::start_time(process.pid).is_ok_and(|start| start == process.start)
    }

    fn namesakes(&self, name: &str) -> Vec<(i32, String)> {
        let mut found = Vec::new();
        for pid in pids(&[]) {
            let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { continue };
            let path = maps.lines().filter_map(|l| l.split_once('/').map(|(_, rest)| rest)).find(|path| {
                let path = path.strip_suffix(" (deleted)").unwrap_or(path);
                path.rsplit('/').next() == Some(name)
            });
            if let Some(path) = path {
                found.push((pid, format!("/{path}")));
            }
        }
        found
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|w| w == needle)
}
