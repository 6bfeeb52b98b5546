//! Mapping images by as few stops as possible, where the thread that is held can be sent for it: two for each.

use super::inject::{MFD_CLOEXEC, NO_FILE, Prepared, Remains, fill, mappings, mark_complete};
use crate::{
    ProcessError,
    patch::Steps,
    remote::{Call, Errand},
    target::process::Process,
};

/// Maps everything, not active yet.
///
/// # Errors
/// As [`super::load`]; nothing stays mapped.
pub(super) fn send(
    mut errand: Errand<'_>,
    process: &Process,
    name: &str,
    prepared: &[Prepared],
    remains: &Remains,
    steps: &Steps,
) -> Result<(), ProcessError> {
    let unmap =
        |(start, size): (u64, u64)| Call { number: libc::SYS_munmap, args: [start, size, 0, 0, 0, 0] };
    if !remains.mappings.is_empty() {
        let calls: Vec<_> = remains.mappings.iter().copied().map(unmap).collect();
        errand.run("munmap", &[], &calls)?;
    }
    let mut mapped = Vec::new();
    let mut map_all = || -> Result<(), ProcessError> {
        for p in prepared {
            steps.next("create the named memory")?;
            let label = format!("upatch:{name}\0");
            let create = [errand.data(), MFD_CLOEXEC, 0, 0, 0, 0];
            let create = Call { number: libc::SYS_memfd_create, args: create };
            let made = errand.run("memfd_create", label.as_bytes(), &[create])?.pop();
            // No file descriptor left, or not allowed: memory without a name will do.
            let fd = made.and_then(Result::ok).unwrap_or(NO_FILE);
            let named = fd != NO_FILE;
            let filled = if named { fill(process, fd, p, steps) } else { Ok(()) };
            let mut calls = if filled.is_ok() { mappings(p, fd) } else { Vec::new() };
            let count = calls.len();
            calls.extend(named.then_some(Call { number: libc::SYS_close, args: [fd, 0, 0, 0, 0, 0] }));
            steps.next("map the image")?;
            let mut results = errand.run("mmap", &[], &calls)?;
            filled?;
            if results.first().is_some_and(Result::is_ok) {
                mapped.push((p.base, p.layout.size));
            }
            if let Some(Err(source)) = results.pop() {
                if results.len() < count {
                    errand.run("close", &[], &calls[count..])?;
                }
                return Err(ProcessError::Os { what: "mmap in the process".into(), source });
            }
            if !named {
                steps.next("fill the memory")?;
                process.memory.write(p.base, &p.layout.bytes)?;
            }
        }
        mark_complete(process, prepared, steps)
    };
    let result = map_all();
    if result.is_err() && !mapped.is_empty() {
        let calls: Vec<_> = mapped.into_iter().map(unmap).collect();
        let _ = errand.run("munmap", &[], &calls);
    }
    result
}
