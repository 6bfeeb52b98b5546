//! The auxiliary vector (`getauxval(3)`), as the kernel keeps it in `/proc/PID/auxv`.

use std::fs;

/// Where the dynamic loader is; 0 without one.
const AT_BASE: u64 = 7;
const AT_PHDR: u64 = 3;
const AT_ENTRY: u64 = 9;

/// What of it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Auxv {
    /// Lowest address of the dynamic loader; 0 for a static program.
    pub(super) loader: u64,
    /// Run-time address of the program's own program headers.
    pub(super) headers: u64,
    /// Run-time address of the program's first instruction, to which its dynamic loader goes, if it has one.
    pub(super) entry: u64,
}

/// Reads the vector of a process.
pub(super) fn read(pid: i32) -> Option<Auxv> {
    parse(&fs::read(format!("/proc/{pid}/auxv")).ok()?)
}

fn parse(bytes: &[u8]) -> Option<Auxv> {
    let word = |b: &[u8]| Some(u64::from_le_bytes(b.try_into().ok()?));
    let mut found = Auxv { loader: 0, headers: 0, entry: 0 };
    for pair in bytes.chunks_exact(16) {
        let (key, value) = (word(&pair[..8])?, word(&pair[8..])?);
        match key {
            AT_BASE => found.loader = value,
            AT_PHDR => found.headers = value,
            AT_ENTRY => found.entry = value,
            _ => {}
        }
    }
    (found.headers != 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_program() {
        let own = read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_ne!(own.loader, 0);
        assert_eq!(parse(&[0; 40]), None);
    }
}
