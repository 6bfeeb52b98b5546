//! Mapping images by as few stops as possible, where the thread that is held can be sent for it: one for each.

use super::inject::{MFD_CLOEXEC, NO_FILE, Prepared, Remains, mappings, mark_complete};
use crate::{
    ProcessError,
    engine::{
        remote::Errand,
        target::{process::Process, steps::Steps},
    },
    sys::call::SystemCall,
};
use std::io;

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
    let unmap = |(start, size): (u64, u64)| SystemCall::new(libc::SYS_munmap, [start, size, 0, 0, 0, 0]);
    if !remains.mappings.is_empty() {
        let calls: Vec<_> = remains.mappings.iter().copied().map(unmap).collect();
        errand.run("munmap", &[], &calls)?;
    }
    let mut mapped = Vec::new();
    let mut map_all = || -> Result<(), ProcessError> {
        for p in prepared {
            steps.next("map the image")?;
            map(&mut errand, name, p, &mut mapped)?;
            steps.next("fill the memory")?;
            process.memory.write(p.base, &p.layout.bytes)?;
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

/// Maps memory for an image. It says from the beginning what it is, so that it is known for ours if nobody is left to fill it.
fn map(
    errand: &mut Errand<'_>,
    name: &str,
    p: &Prepared,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<(), ProcessError> {
    let mut data = format!("upatch:{name}\0").into_bytes();
    data.resize(data.len().next_multiple_of(16), 0);
    let (label, header) = (errand.data(), errand.data() + data.len() as u64);
    data.extend(p.header());
    let header_size = data.len() as u64 - (header - label);
    let of_file = |number, args| SystemCall::new(number, args).of_first(0);
    let mut calls = vec![
        SystemCall::new(libc::SYS_memfd_create, [label, MFD_CLOEXEC, 0, 0, 0, 0]),
        of_file(libc::SYS_ftruncate, [0, p.layout.offsets.size, 0, 0, 0, 0]),
        of_file(libc::SYS_pwrite64, [0, header, header_size, 0, 0, 0]),
    ];
    let first = calls.len();
    let mut made = |results: &[io::Result<u64>], first: usize| {
        if results.get(first).is_some_and(Result::is_ok) {
            mapped.push((p.base, p.layout.offsets.size));
        }
    };
    let failure = |source| ProcessError::Os { what: "mmap in the process".into(), source };
    calls.extend(mappings(p, 0).into_iter().map(|call| call.of_first(4)));
    let close = calls.len();
    calls.push(of_file(libc::SYS_close, [0; 6]));
    let mut results = errand.run("mmap", &data, &calls)?;
    made(&results, first);
    let failed = results.len();
    let Some(Err(source)) = results.pop() else { return Ok(()) };
    if let Some(Ok(fd)) = results.first()
        && failed <= close
    {
        errand.run("close", &[], &[SystemCall::new(libc::SYS_close, [*fd, 0, 0, 0, 0, 0])])?;
    }
    if failed > first {
        return Err(failure(source));
    }
    // No file descriptor left, no file as large as that allowed, or none at all: memory without a name will do.
    let mut results = errand.run("mmap", &[], &mappings(p, NO_FILE))?;
    made(&results, 0);
    results.pop().transpose().map(drop).map_err(failure)
}
