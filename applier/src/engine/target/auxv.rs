//! The auxiliary vector (`getauxval(3)`), as the kernel keeps it in `/proc/PID/auxv`.

use super::{elf, procfile};
use crate::ProcessError;

/// Where the dynamic loader is.
const AT_BASE: u64 = 7;
const AT_PHDR: u64 = 3;
const AT_ENTRY: u64 = 9;
const AT_RANDOM: u64 = 25;

/// The entries that matter here; 0 for an entry that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Auxv {
    /// Lowest address of the dynamic loader; 0 for a static program.
    pub loader: u64,
    /// Run-time address of the program's own program headers.
    pub headers: u64,
    /// Run-time address of the program's first instruction, to which its dynamic loader goes, if it has one.
    pub entry: u64,
    /// Where the kernel has put random bytes for it: what tells its memory from that of another program.
    pub random: u64,
}

/// Reads the vector of a process.
///
/// # Errors
/// [`ProcessError::Gone`], also for a process without memory of its own.
pub(crate) fn read(pid: i32) -> Result<Auxv, ProcessError> {
    let path = format!("/proc/{pid}/auxv");
    let bytes = procfile::read_one(&path).map_err(|e| procfile::gone_or(e, &path))?;
    let found = parse(&bytes);
    // The kernel gives it to every program; the headers only where a segment holds them.
    if found.random == 0 { Err(ProcessError::Gone) } else { Ok(found) }
}

fn parse(bytes: &[u8]) -> Auxv {
    let mut found = Auxv::default();
    for pair in bytes.chunks_exact(16) {
        let (Some(key), Some(value)) = (elf::u64_at(pair, 0), elf::u64_at(pair, 8)) else { break };
        match key {
            AT_BASE => found.loader = value,
            AT_PHDR => found.headers = value,
            AT_ENTRY => found.entry = value,
            AT_RANDOM => found.random = value,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_program() {
        let own = read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.loader != 0 && own.entry != 0);
        assert_eq!(parse(&[0; 40]), Auxv::default());
    }

    #[test]
    fn a_process_that_has_ended_has_none() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while crate::engine::target::status::process(pid).unwrap().state != b'Z' {
            std::thread::yield_now();
        }
        assert!(matches!(read(pid), Err(ProcessError::Gone)));
        child.wait().unwrap();
    }
}
