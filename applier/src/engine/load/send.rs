//! Mapping images by as few stops as possible, where the thread that is held can be sent for it: one for
//! each.

use super::inject::{MFD_CLOEXEC, NO_FILE, Placements, PreparedImage, mappings, mark_complete};
use crate::{
    ProcessError,
    engine::{
        remote::SyscallBatch,
        target::{process::Process, steps::Steps},
    },
    sys::{call::SystemCall, plain},
};
use patchfile::image::Access;
use std::{io, os::unix::fs::FileExt};

/// Calls in one batch: the code for one takes up to 70 bytes.
const CALLS: usize = 12;

/// Maps everything, not active yet, where there is no other thread. Tells which traps of others are no more.
///
/// # Errors
/// As [`super::load`]; no image stays mapped.
pub(super) fn send(
    mut batch: SyscallBatch<'_>,
    process: &Process,
    placements: &Placements<'_>,
    steps: &Steps,
) -> Result<Vec<u64>, ProcessError> {
    let mut mapped = Vec::new();
    let result = map_all(&mut batch, process, placements, steps, &mut mapped)
        .and_then(|()| exchange(&mut batch, process, placements, steps))
        .and_then(|traps| mark_complete(process, placements.images, steps).map(|()| traps));
    if result.is_err() {
        // Also the pages that were moved away: no thread is there that could have mapped something else.
        unmap(&mut batch, &mapped);
    }
    result
}

/// Maps the images, and memory for pages of code. Gives the images' address and size.
///
/// # Errors
/// The same; nothing stays mapped.
pub(super) fn map_at_once(
    mut batch: SyscallBatch<'_>,
    process: &Process,
    placements: &Placements<'_>,
    steps: &Steps,
) -> Result<Vec<(u64, u64)>, ProcessError> {
    let mut mapped = Vec::new();
    match map_all(&mut batch, process, placements, steps, &mut mapped) {
        Ok(()) => {
            mapped.truncate(placements.images.len());
            Ok(mapped)
        }
        Err(error) => {
            unmap(&mut batch, &mapped);
            Err(error)
        }
    }
}

fn unmapping((start, size): (u64, u64)) -> SystemCall {
    SystemCall::new(libc::SYS_munmap, [start, size, 0, 0, 0, 0])
}

/// What was mapped goes, as far as that can be had.
fn unmap(batch: &mut SyscallBatch<'_>, mapped: &[(u64, u64)]) {
    if !mapped.is_empty() {
        let calls: Vec<_> = mapped.iter().copied().map(unmapping).collect();
        let _ = batch.run("munmap", &[], &calls);
    }
}

/// Maps and fills the images, then makes memory for pages of code; notes each in `mapped`.
fn map_all(
    batch: &mut SyscallBatch<'_>,
    process: &Process,
    placements: &Placements<'_>,
    steps: &Steps,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<(), ProcessError> {
    if !placements.leftovers.mappings.is_empty() {
        let calls: Vec<_> = placements.leftovers.mappings.iter().copied().map(unmapping).collect();
        batch.run("munmap", &[], &calls)?;
    }
    let memory = (placements.place, placements.code_pages.size());
    let mut make =
        Some(placements.code_pages.make(placements.place)).filter(|_| !placements.code_pages.is_empty());
    let last = placements.images.len().saturating_sub(1);
    for (number, p) in placements.images.iter().enumerate() {
        steps.next("map the image")?;
        let too = if number == last { make.take() } else { None };
        map(batch, placements.name, p, too, mapped)?;
        mapped.extend(too.map(|_| memory));
        steps.next("fill the memory")?;
        fill(process, p)?;
    }
    if let Some(make) = make {
        all(batch, "mmap", &[make])?;
        mapped.push(memory);
    }
    Ok(())
}

/// Puts the image into its memory: into the file, where that may be opened by a part that is mapped, so that
/// the process has no second copy.
fn fill(process: &Process, p: &PreparedImage) -> Result<(), ProcessError> {
    let code = p.layout.parts.iter().find(|(_, _, access)| *access == Access::Execute);
    let file = code.and_then(|(offset, size, _)| {
        let (start, end) = (p.base + offset, p.base + offset + size);
        plain::open_memory(&format!("/proc/{}/map_files/{start:x}-{end:x}", process.view)).ok()
    });
    match file {
        Some(file) => {
            file.write_all_at(&p.layout.bytes, 0).map_err(ProcessError::os("cannot fill the patch's memory"))
        }
        None => process.memory.write(p.base, &p.layout.bytes),
    }
}

/// Makes calls that may not fail.
fn all(batch: &mut SyscallBatch<'_>, what: &str, calls: &[SystemCall]) -> Result<(), ProcessError> {
    let failed = |source| ProcessError::Os { what: format!("{what} in the process"), source };
    batch.run(what, &[], calls)?.pop().transpose().map(drop).map_err(failed)
}

/// Exchanges the pages of code, for which the memory is there.
fn exchange(
    batch: &mut SyscallBatch<'_>,
    process: &Process,
    placements: &Placements<'_>,
    steps: &Steps,
) -> Result<Vec<u64>, ProcessError> {
    if placements.code_pages.is_empty() {
        return Ok(Vec::new());
    }
    steps.next("fill pages of code")?;
    let contents = placements.code_pages.contents_again(process, placements.contents)?;
    contents.fill(&process.memory, placements.place)?;
    for calls in placements.code_pages.moves(placements.place).chunks(CALLS) {
        steps.next("exchange pages of code")?;
        all(batch, "mremap", calls)?;
    }
    Ok(contents.traps.clone())
}

/// Maps memory for an image, and makes the call `too`. It says from the beginning what it is, so that it is
/// known for ours if nobody is left to fill it.
fn map(
    batch: &mut SyscallBatch<'_>,
    name: &str,
    p: &PreparedImage,
    too: Option<SystemCall>,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<(), ProcessError> {
    let mut data = format!("upatch:{name}\0").into_bytes();
    data.resize(data.len().next_multiple_of(16), 0);
    let (label, header) = (batch.data(), batch.data() + data.len() as u64);
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
    calls.extend(too);
    let mut results = batch.run("mmap", &data, &calls)?;
    made(&results, first);
    let failed = results.len();
    let Some(Err(source)) = results.pop() else { return Ok(()) };
    if let Some(Ok(fd)) = results.first()
        && failed <= close
    {
        batch.run("close", &[], &[SystemCall::new(libc::SYS_close, [*fd, 0, 0, 0, 0, 0])])?;
    }
    if failed > first {
        return Err(failure(source));
    }
    // No file descriptor left, no file as large as that allowed, or none at all: memory without a name will
    // do.
    let calls: Vec<_> = mappings(p, NO_FILE).into_iter().chain(too).collect();
    let mut results = batch.run("mmap", &[], &calls)?;
    made(&results, 0);
    results.pop().transpose().map(drop).map_err(failure)
}
