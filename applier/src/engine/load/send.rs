//! Mapping images by as few stops as possible, where the thread that is held can be sent for it: one for
//! each.
//!
//! Pages of code take part in the stop of the last image where the process can copy them itself. It does that
//! by writing to `/proc/self/mem`, since the copy goes to memory that nobody may write to otherwise. Where
//! that does not work, the pages are filled from outside, and moved in a stop of their own.

use super::code_pages::CodePages;
use super::inject::{MFD_CLOEXEC, NO_FILE, Placements, PreparedImage, mappings, mark_complete};
use crate::{
    ProcessError,
    engine::{
        remote::SyscallBatch,
        target::{process::Process, procfile, steps::Steps},
    },
    sys::{call::SystemCall, plain},
};
use patchfile::image::Access;
use std::{
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

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
    let copies = can_copy_itself(process, placements);
    let result = map_all(&mut batch, process, placements, copies, steps, &mut mapped)
        .and_then(|exchanged| match exchanged {
            true => Ok(placements.contents.traps.clone()),
            false => exchange(&mut batch, process, placements, steps),
        })
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
    match map_all(&mut batch, process, placements, false, steps, &mut mapped) {
        Ok(_) => {
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

/// Did the kernel refuse that a process writes to its own memory? Then it refuses every process
/// (`proc_mem.force_override`).
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Does AppArmor confine programs here? Where that cannot be told, each program is asked about.
fn apparmor() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| match procfile::text("/sys/module/apparmor/parameters/enabled") {
        Ok(enabled) => enabled.starts_with('Y'),
        Err(_) => !Path::new("/sys/module").is_dir(),
    })
}

/// Can the process copy its pages of code itself? It has to have them as they should be. AppArmor would log
/// that a confined program opens its memory.
fn can_copy_itself(process: &Process, placements: &Placements<'_>) -> bool {
    let is_confined = || {
        let label = procfile::text(&format!("/proc/{}/attr/current", process.view)).unwrap_or_default();
        ["(enforce)", "(complain)", "(kill)", "(prompt)"].iter().any(|mode| label.trim_end().ends_with(mode))
    };
    let is_free = !apparmor() || !is_confined();
    placements.contents.is_in_place() && !REFUSED.load(Ordering::Relaxed) && is_free
}

/// Pages of code that are dealt with together with the last image.
#[derive(Clone, Copy)]
struct WithPages<'a> {
    pages: &'a CodePages,
    /// Where their memory is made.
    place: u64,
    /// Does the process copy and move them too?
    copies: bool,
}

/// Maps and fills the images, then makes memory for pages of code; notes each in `mapped`. `copies`: the
/// process copies the pages itself. Tells whether they were exchanged.
fn map_all(
    batch: &mut SyscallBatch<'_>,
    process: &Process,
    placements: &Placements<'_>,
    copies: bool,
    steps: &Steps,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<bool, ProcessError> {
    if !placements.leftovers.mappings.is_empty() {
        let calls: Vec<_> = placements.leftovers.mappings.iter().copied().map(unmapping).collect();
        batch.run("munmap", &[], &calls)?;
    }
    let (pages, place) = (placements.code_pages, placements.place);
    let mut with = Some(WithPages { pages, place, copies }).filter(|_| !pages.is_empty());
    let last = placements.images.len().saturating_sub(1);
    let mut exchanged = false;
    for (number, p) in placements.images.iter().enumerate() {
        steps.next("map the image")?;
        let too = if number == last { with.take() } else { None };
        exchanged |= map(batch, placements.name, p, too, mapped)?;
        if exchanged {
            steps.next("correct pages of code")?;
            pages.correct(&process.memory, placements.contents)?;
        }
        steps.next("fill the memory")?;
        fill(process, p)?;
    }
    if with.is_some() {
        all(batch, "mmap", &[pages.make(place)])?;
        mapped.push((place, pages.size()));
    }
    Ok(exchanged)
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

/// The memory of the process that opens it.
const OWN_MEMORY: &[u8] = b"/proc/self/mem\0";

/// The calls by which a process copies pages of code and puts the copies in their place. They are the calls
/// number `first` and following of a batch, which has [`OWN_MEMORY`] at `path`.
fn copying(with: WithPages<'_>, first: usize, path: u64) -> Vec<SystemCall> {
    let flags = (libc::O_RDWR | libc::O_CLOEXEC) as u64;
    let here = i64::from(libc::AT_FDCWD).cast_unsigned();
    let to_file = |number, args| SystemCall::new(number, args).with_result(first, 0);
    let copies = with.pages.copies(with.place).into_iter();
    std::iter::once(SystemCall::new(libc::SYS_openat, [here, path, flags, 0, 0, 0]))
        .chain(copies.map(|(from, to, size)| to_file(libc::SYS_pwrite64, [0, from, size, to, 0, 0])))
        .chain(std::iter::once(to_file(libc::SYS_close, [0; 6])))
        .chain(with.pages.moves(with.place))
        .collect()
}

/// Maps memory for an image, and does what there is to do `with` pages of code. The image says from the
/// beginning what it is, so that it is known for ours if nobody is left to fill it. Tells whether the pages
/// of code were exchanged.
fn map(
    batch: &mut SyscallBatch<'_>,
    name: &str,
    p: &PreparedImage,
    with: Option<WithPages<'_>>,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<bool, ProcessError> {
    let padded = |data: &mut Vec<u8>| data.resize(data.len().next_multiple_of(16), 0);
    let mut data = format!("upatch:{name}\0").into_bytes();
    padded(&mut data);
    let (label, header) = (batch.data(), batch.data() + data.len() as u64);
    data.extend(p.header());
    let header_size = data.len() as u64 - (header - label);
    let of_file = |number, args| SystemCall::new(number, args).with_result(0, 0);
    let mut calls = vec![
        SystemCall::new(libc::SYS_memfd_create, [label, MFD_CLOEXEC, 0, 0, 0, 0]),
        of_file(libc::SYS_ftruncate, [0, p.layout.offsets.size, 0, 0, 0, 0]),
        of_file(libc::SYS_pwrite64, [0, header, header_size, 0, 0, 0]),
    ];
    let first = calls.len();
    let failure = |source| ProcessError::Os { what: "mmap in the process".into(), source };
    calls.extend(mappings(p, 0).into_iter().map(|call| call.with_result(0, 4)));
    let close = calls.len();
    calls.push(of_file(libc::SYS_close, [0; 6]));
    let make = with.map(|with| with.pages.make(with.place));
    calls.extend(make);
    let open = calls.len();
    let mut copies = 0;
    if let Some(with) = with.filter(|with| with.copies) {
        let (mut more, mut all) = (data.clone(), calls.clone());
        padded(&mut more);
        all.extend(copying(with, open, label + more.len() as u64));
        more.extend(OWN_MEMORY);
        if batch.has_room(&more, &all) {
            copies = with.pages.copies(with.place).len();
            (data, calls) = (more, all);
        }
    }
    let mut results = batch.run("mmap", &data, &calls)?;
    let is_made = |results: &[io::Result<u64>], call: usize| results.get(call).is_some_and(Result::is_ok);
    let image = (p.base, p.layout.offsets.size);
    mapped.extend(is_made(&results, first).then_some(image));
    let memory = with.map(|with| (with.place, with.pages.size()));
    mapped.extend(memory.filter(|_| is_made(&results, open - 1)));
    let failed = results.len();
    let own_memory = results.get(open).and_then(|r| r.as_ref().ok().copied());
    let Some(Err(source)) = results.pop() else { return Ok(copies > 0) };
    let mut close_file =
        |fd| batch.run("close", &[], &[SystemCall::new(libc::SYS_close, [fd, 0, 0, 0, 0, 0])]).map(drop);
    // The image is mapped, and the memory for pages of code is there: only copying them did not work.
    let moves = open + 1 + copies + 1;
    if failed > open && failed <= moves {
        if let Some(fd) = own_memory {
            REFUSED.store(true, Ordering::Relaxed);
            close_file(fd)?;
        }
        return Ok(false);
    }
    if let Some(Ok(fd)) = results.first()
        && failed <= close
    {
        close_file(*fd)?;
    }
    if failed > first {
        return Err(failure(source));
    }
    // No file descriptor left, no file as large as that allowed, or none at all: memory without a name will
    // do.
    let calls: Vec<_> = mappings(p, NO_FILE).into_iter().chain(make).collect();
    let mut results = batch.run("mmap", &[], &calls)?;
    mapped.extend(is_made(&results, 0).then_some(image));
    mapped.extend(memory.filter(|_| is_made(&results, calls.len() - 1)));
    results.pop().transpose().map(|_| false).map_err(failure)
}
