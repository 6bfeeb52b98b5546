//! Processes that run code of files which were replaced or removed since.

use super::processes::{comm, printable};
use crate::engine::target::maps::{self, Mapping};

/// Folders in which programs make files of code for themselves.
const SCRATCH: [&str; 6] = ["/tmp/", "/var/tmp/", "/dev/", "/run/", "/memfd:", "/SYSV"];

/// Processes, their names, and the paths of such files; those that may not be looked into are left out.
pub(super) fn files(pids: &[i32]) -> Vec<(i32, String, Vec<String>)> {
    let of = |&pid: &i32| {
        let files = deleted(&maps::read(pid).ok()?);
        (!files.is_empty()).then(|| (pid, comm(pid), files))
    };
    pids.iter().filter_map(of).collect()
}

fn deleted(maps: &[Mapping]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for mapping in maps.iter().filter(|m| m.execute && m.inode != 0) {
        let (path, gone) = mapping.path();
        let path = printable(path);
        let ours = path.starts_with('/') && !SCRATCH.iter().any(|s| path.starts_with(s));
        if gone && ours && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_programs_and_libraries_count_and_scratch_files_do_not() {
        let mapping = |name: &str, execute: bool| Mapping {
            start: 0x1000,
            end: 0x2000,
            read: true,
            write: false,
            execute,
            shared: false,
            offset: 0,
            device: 1,
            inode: 7,
            replaced: false,
            name: name.into(),
        };
        let maps = [
            mapping("/usr/sbin/d (deleted)", true),
            mapping("/usr/lib/libx.so.1 (deleted)", false),
            mapping("/usr/lib/libx.so.1 (deleted)", true),
            mapping("/usr/lib/libx.so.1 (deleted)", true),
            mapping("/usr/lib/liby.so.1", true),
            mapping("/tmp/jit-123 (deleted)", true),
            mapping("/memfd:upatch:X (deleted)", true),
        ];
        assert_eq!(deleted(&maps), ["/usr/sbin/d", "/usr/lib/libx.so.1"]);
    }
}
