//! Mapping images into the target.

use super::{
    CodePages, Layout, Resolved, Sibling,
    code_pages::PageContents,
    find_gap, relocate, resolve,
    send::{map_at_once, send},
};
use crate::{
    Busy, Located, ProcessError,
    arch::borrow::RESOLVER_ARGUMENTS,
    engine::{
        Hindrance,
        remote::{BorrowedThread, FUNCTION_ROOM, Gadgets, SyscallBatch},
        target::{
            code_cave::CodeCave, frames::Tables, modules::Module, process::Process, procfile, status,
            steps::Steps, threads::StoppedThreads,
        },
    },
    sys::{call::SystemCall, plain, ptrace},
};
use patchfile::{
    Uuid,
    control::{self, Control, Entry, Phase},
    image::{Access, Image, Relocation},
};
use std::{fs, io::ErrorKind, os::unix::fs::FileExt, path::Path};

/// An image on its way into a process.
#[derive(Debug)]
pub(crate) struct PendingImage<'a> {
    /// Index of the ELF in the manifest.
    pub elf: u32,
    /// The image.
    pub image: &'a Image,
    /// The module it is for.
    pub module: Module,
}

/// Contents for one place in the target.
pub(super) struct PreparedImage {
    pub(super) base: u64,
    pub(super) layout: Layout,
    control: Control,
    /// Fields whose value only a function of the target can tell.
    late: Vec<(Relocation, u64)>,
}

impl PreparedImage {
    /// The control block as it is found before the image is complete: whose it is, and how large.
    pub(super) fn header(&self) -> Vec<u8> {
        Control { entries: Vec::new(), ..self.control.clone() }.encode()
    }

    /// As it is found once it is complete.
    fn located(self) -> Located {
        tracing::info!(
            elf = self.control.elf,
            at = self.base,
            size = self.control.size,
            "the image is mapped"
        );
        let control = Control { phase: Phase::Ready, ..self.control };
        Located { address: self.base, control, in_force: false, disturbed: Vec::new() }
    }
}

const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;
const MAP_PRIVATE: u64 = 2;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
pub(super) const MFD_CLOEXEC: u64 = 1;
pub(super) const NO_FILE: u64 = u64::MAX;

/// What a killed applier left unfinished: it goes.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Address and size of mappings.
    pub mappings: Vec<(u64, u64)>,
    /// Open files.
    pub descriptors: Vec<u64>,
}

impl Leftovers {
    /// With these mappings, and the files that are found open.
    pub(crate) fn find(process: &Process, mappings: Vec<(u64, u64)>) -> Self {
        let entries = fs::read_dir(format!("/proc/{}/fd", process.view));
        let numbers =
            entries.into_iter().flatten().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        let descriptors = numbers.filter(|fd| is_ours(process, *fd)).collect();
        Self { mappings, descriptors }
    }
}

/// Did we open this file in the process?
fn is_ours(process: &Process, fd: u64) -> bool {
    let link = fs::read_link(format!("/proc/{}/fd/{fd}", process.view));
    link.is_ok_and(|to| is_name_of_ours(&to))
}

fn is_name_of_ours(link: &Path) -> bool {
    link.as_os_str().as_encoded_bytes().starts_with(b"/memfd:upatch:")
}

/// Closes our file, unless another thread has closed it already (`closefrom`) and the number may mean another
/// one.
fn close(borrowed: &mut BorrowedThread<'_>, process: &Process, fd: u64) -> Result<(), ProcessError> {
    match fs::read_link(format!("/proc/{}/fd/{fd}", process.view)) {
        Ok(to) if !is_name_of_ours(&to) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    borrowed.call("close", libc::SYS_close, [fd, 0, 0, 0, 0, 0]).map(|_| ())
}

/// What a process is to get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadRequest<'a> {
    /// Name of the patch.
    pub name: &'a str,
    /// Its uuid.
    pub uuid: Uuid,
    /// Images that it has not got yet.
    pub pending: &'a [PendingImage<'a>],
    /// Images of the same patch that it has.
    pub loaded: &'a [Sibling<'a>],
    /// Pages of code that are exchanged.
    pub code_pages: &'a CodePages,
    /// What goes first.
    pub leftovers: &'a Leftovers,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct LoadResult {
    /// The images, not active yet.
    pub images: Vec<Located>,
    /// Addresses of other programs' breakpoints and uprobes that were removed.
    pub traps: Vec<u64>,
}

/// A [`LoadRequest`] with the addresses where everything goes.
pub(super) struct Placements<'a> {
    pub(super) name: &'a str,
    pub(super) images: &'a [PreparedImage],
    pub(super) code_pages: &'a CodePages,
    /// What they held when they were looked at.
    pub(super) contents: &'a PageContents,
    /// Where pages of code are made.
    pub(super) place: u64,
    pub(super) leftovers: &'a Leftovers,
    /// Where the code of a batch can be.
    cave: Option<CodeCave>,
}

/// Maps images, not active yet, beside those of the same patch that are there, and exchanges pages of code.
/// Tells where the images are, which the memory map of `process` does not.
///
/// A thread that is borrowed stands as long as that takes. Where it cannot map the images in one go, it or
/// another one is borrowed once more for the pages of code.
///
/// # Errors
/// See [`ProcessError`]; no image stays mapped, unless it is the pages that cannot be exchanged.
pub(crate) fn load(
    process: &mut Process,
    tables: &mut Tables,
    request: &LoadRequest<'_>,
    steps: &Steps,
) -> Result<LoadResult, Hindrance> {
    // What is refused is refused before anything has changed.
    let contents = request.code_pages.contents(process)?;
    let cave = cave_for_batch(process, request);
    let either = request.pending.is_empty() || request.code_pages.is_empty();
    if process.held.is_some() || either || cave.is_some() {
        return load_at_once(process, tables, request, &contents, cave, steps);
    }
    let none = (CodePages::default(), PageContents::default());
    let first = LoadRequest { code_pages: &none.0, ..*request };
    let images = load_at_once(process, tables, &first, &none.1, None, steps)?.images;
    let leftovers = Leftovers::default();
    let rest = LoadRequest { pending: &[], leftovers: &leftovers, ..*request };
    let traps = load_at_once(process, tables, &rest, &contents, None, steps)?.traps;
    Ok(LoadResult { images, traps })
}

/// Does what [`load`] does, with one thread that is borrowed once.
fn load_at_once(
    process: &mut Process,
    tables: &mut Tables,
    request: &LoadRequest<'_>,
    contents: &PageContents,
    cave: Option<CodeCave>,
    steps: &Steps,
) -> Result<LoadResult, Hindrance> {
    let mut tries = 0;
    loop {
        let prepared = prepare_all(process, request.name, request.uuid, request.pending, request.loaded)?;
        let taken: Vec<_> = prepared.iter().map(|p| (p.base, p.base + p.layout.offsets.size)).collect();
        let (name, code_pages, leftovers) = (request.name, request.code_pages, request.leftovers);
        let place = if code_pages.is_empty() { 0 } else { code_pages.place(process, &taken)? };
        let placements = Placements { name, images: &prepared, code_pages, contents, place, leftovers, cave };
        placements.fits(process)?;
        match inject(process, tables, &placements, steps) {
            // Something else was mapped there in the meantime: look for another place.
            Err(Hindrance::Failed(ProcessError::Os { source, .. }))
                if source.raw_os_error() == Some(libc::EEXIST) && tries < 3 =>
            {
                tries += 1;
                process.refresh()?;
            }
            outcome => {
                let loaded = |traps| LoadResult {
                    images: prepared.into_iter().map(PreparedImage::located).collect(),
                    traps,
                };
                return outcome.map(loaded);
            }
        }
    }
}

/// Mappings that other threads of the process may make meanwhile.
const SPARE: usize = 64;

impl Placements<'_> {
    /// Has the process room for as many mappings more? The kernel would say so by an error that says nothing.
    fn fits(&self, process: &Process) -> Result<(), ProcessError> {
        let images = self.images.iter().map(|p| 2 * p.layout.parts.len() + 1).sum::<usize>();
        let (has, more) = (process.maps.len(), images + self.code_pages.mappings());
        let limit = || procfile::text("/proc/sys/vm/max_map_count").ok()?.trim().parse::<usize>().ok();
        // No kernel allows less by itself.
        if has + more < 1 << 15 || limit().is_none_or(|limit| has + more + SPARE < limit) {
            return Ok(());
        }
        Err(ProcessError::unfit(format!(
            "it has {has} memory mappings, and with {more} more they would be too many (vm.max_map_count)"
        )))
    }
}

/// Finds places and computes contents for all images.
fn prepare_all(
    process: &Process,
    name: &str,
    uuid: Uuid,
    pending: &[PendingImage<'_>],
    loaded: &[Sibling<'_>],
) -> Result<Vec<PreparedImage>, ProcessError> {
    let mut taken = Vec::new();
    let mut places = Vec::new();
    let mut siblings = loaded.to_vec();
    for p in pending {
        let layout = Layout::of(p.image);
        let base = find_gap(&process.maps, &taken, &p.module, layout.offsets.size).ok_or_else(|| {
            ProcessError::NoMemoryNear { size: layout.offsets.size, module: p.module.name().to_owned() }
        })?;
        taken.push((base, base + layout.offsets.size));
        siblings.push(Sibling::new(&p.module, p.image, base));
        places.push((layout, base));
    }
    let prepared = pending.iter().zip(places);
    prepared.map(|(p, (layout, base))| prepare(process, name, uuid, p, layout, base, &siblings)).collect()
}

/// Are places found and all symbols there? For checking without changing anything.
pub(crate) fn rehearse(
    process: &Process,
    pending: &[PendingImage<'_>],
    loaded: &[Sibling<'_>],
) -> Result<(), ProcessError> {
    prepare_all(process, "", Uuid::from_bytes([0; 16]), pending, loaded)?;
    Gadgets::find(process).map(|_| ())
}

fn prepare(
    process: &Process,
    name: &str,
    uuid: Uuid,
    pending: &PendingImage<'_>,
    mut layout: Layout,
    base: u64,
    siblings: &[Sibling<'_>],
) -> Result<PreparedImage, ProcessError> {
    let PendingImage { elf, image, module } = pending;
    let values = resolve(process, module, image, base, siblings)?;
    let mut late = Vec::new();
    for relocation in &image.relocations {
        match values.get(relocation.reference as usize) {
            Some(Resolved::Value(value)) => {
                let bytes = relocate::field(relocation, *value, base)?;
                put(&mut layout.bytes, relocation.address, &bytes)?;
            }
            Some(Resolved::ResultOf(function)) => late.push((*relocation, *function)),
            None => return Err(ProcessError::unfit("a relocation refers to nothing")),
        }
    }
    let entry = |r: &patchfile::image::Redirect| Entry {
        site: module.bias.wrapping_add(r.site()),
        previous: r.resume.map_or(0, |resume| base + resume),
        new: base + r.new,
        stub: base + r.stub,
        original: r.original,
        resume: r.resume.map_or(0, |resume| base + resume),
        hop: r.hop.map(|hop| (module.bias.wrapping_add(hop.address), hop.original)),
    };
    // 0 says that there is none.
    let eh_frame = image.unwind.map(|u| u32::try_from(u.eh_frame)).transpose();
    let eh_frame =
        eh_frame.map_err(|_| ProcessError::unfit("unwind tables outside of the image"))?.unwrap_or(0);
    let control = Control {
        uuid,
        active: false,
        sequence: 0,
        bias: module.bias,
        size: layout.offsets.size,
        phase: Phase::Loading,
        elf: *elf,
        registered: 0,
        eh_frame,
        name: name.to_owned(),
        entries: image.redirects.iter().map(entry).collect(),
    };
    put(&mut layout.bytes, 0, &control.encode())?;
    Ok(PreparedImage { base, layout, control, late })
}

fn put(bytes: &mut [u8], at: u64, data: &[u8]) -> Result<(), ProcessError> {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let room = at.checked_add(data.len()).and_then(|end| bytes.get_mut(at..end));
    room.ok_or_else(|| ProcessError::unfit("a field lies outside of the image"))?.copy_from_slice(data);
    Ok(())
}

/// Maps everything while one thread is stopped. Gives the traps of other programs that were removed.
fn inject(
    process: &Process,
    tables: &mut Tables,
    placements: &Placements<'_>,
    steps: &Steps,
) -> Result<Vec<u64>, Hindrance> {
    let late = placements.images.iter().any(|p| !p.late.is_empty());
    // What is written to a page while it is exchanged is lost.
    let room = process.held.and_then(|h| h.cave).map(|r| r.address..r.address + r.size);
    let under_it = room.is_some_and(|room| placements.code_pages.meets(&room));
    if !late
        && !under_it
        && let Some(batch) = SyscallBatch::begin(process, steps)?
    {
        return Ok(send(batch, process, placements, steps)?);
    }
    let gadgets = Gadgets::find(process)?;
    let in_one_go = placements.cave.filter(|_| !late);
    let room = if late { FUNCTION_ROOM } else { 0 };
    for tid in candidates(process)? {
        let Some(held) = StoppedThreads::one(process, tid, trace_options(process))? else { continue };
        let Some(thread) = held.threads().first() else { continue };
        steps.next("take a thread over")?;
        let Some(mut borrowed) = BorrowedThread::begin(process, thread, tables, gadgets, room, steps)? else {
            continue;
        };
        if let Some(cave) = in_one_go
            && let Some(batch) = borrowed.batch(own_id(process, tid)?, cave)?
        {
            let mapped = map_at_once(batch, process, placements, steps);
            borrowed.returned(cave, &mapped);
            let result = mapped.and_then(|mapped| finish(&mut borrowed, process, placements, steps, mapped));
            let ended = borrowed.end();
            return Ok(result.and_then(|traps| ended.map(|()| traps))?);
        }
        let mut mapped = Vec::new();
        let result = map_all(&mut borrowed, process, placements, steps, &mut mapped)
            .and_then(|()| make(&mut borrowed, placements, steps))
            .and_then(|()| exchange(&mut borrowed, process, placements, steps))
            .and_then(|traps| mark_complete(process, placements.images, steps).map(|()| traps));
        if result.is_err() {
            for (start, size) in mapped {
                let _ = borrowed.call("munmap", libc::SYS_munmap, [start, size, 0, 0, 0, 0]);
            }
        }
        let ended = borrowed.end();
        return Ok(result.and_then(|traps| ended.map(|()| traps))?);
    }
    if status::threads(process.pid).is_err() {
        return Err(process.ended().into());
    }
    Err(Busy::no_room(process.pid).into())
}

/// What is left to do when the images are mapped, and memory for pages of code is.
fn finish(
    borrowed: &mut BorrowedThread<'_>,
    process: &Process,
    placements: &Placements<'_>,
    steps: &Steps,
    mapped: Vec<(u64, u64)>,
) -> Result<Vec<u64>, ProcessError> {
    let result = exchange(borrowed, process, placements, steps)
        .and_then(|traps| mark_complete(process, placements.images, steps).map(|()| traps));
    if result.is_err() {
        for (start, size) in mapped {
            let _ = borrowed.call("munmap", libc::SYS_munmap, [start, size, 0, 0, 0, 0]);
        }
    }
    result
}

/// Where code can be that makes all system calls of an image in one go, so that the borrowed thread stands
/// for a shorter time. Were we killed meanwhile, the thread would make the rest of the calls alone: so not
/// where that could kill it.
fn cave_for_batch(process: &Process, request: &LoadRequest<'_>) -> Option<CodeCave> {
    let simple = !request.pending.is_empty() && request.leftovers.descriptors.is_empty();
    if !simple || process.held.is_some() || process.status.seccomp || limits_files(process) {
        return None;
    }
    CodeCave::find(process.modules.iter().filter(|m| m.path != "[vdso]"), &process.memory)
}

/// Is a signal sent for a file that is too large?
fn limits_files(process: &Process) -> bool {
    let limits = procfile::text(&format!("/proc/{}/limits", process.view)).unwrap_or_default();
    let size = limits.lines().find_map(|l| l.strip_prefix("Max file size"));
    size.is_none_or(|values| !values.trim_start().starts_with("unlimited"))
}

/// What thread `tid` calls itself.
fn own_id(process: &Process, tid: i32) -> Result<i32, ProcessError> {
    match process.status.own_id {
        0 => Ok(tid),
        _ if tid == process.pid => Ok(process.status.own_id_of(tid)),
        _ => Ok(status::status(tid)?.own_id_of(tid)),
    }
}

/// Threads looked at for one that sleeps.
const LOOKED_AT: usize = 32;

/// The threads of the process, the most suitable first: one that is held need not be waited for; one that
/// sleeps does not notice that it is borrowed; the first thread has the largest stack.
fn candidates(process: &Process) -> Result<Vec<i32>, ProcessError> {
    let mut tids = status::threads(process.pid)?;
    tids.sort_by_key(|tid| (!process.holds(*tid), *tid != process.pid));
    if process.held.is_some() {
        return Ok(tids);
    }
    let sleeps = |tid: &i32| status::thread(process.pid, *tid).is_ok_and(|s| s.state == b'S');
    if let Some(at) = tids.iter().take(LOOKED_AT).position(sleeps) {
        tids[..=at].rotate_right(1);
    }
    Ok(tids)
}

/// From here on the control blocks say that there is something to find. Done while a thread is held: kernels
/// that are set so (`proc_mem.force_override=ptrace`) let only a tracer write where the process may not.
pub(super) fn mark_complete(
    process: &Process,
    prepared: &[PreparedImage],
    steps: &Steps,
) -> Result<(), ProcessError> {
    for p in prepared {
        steps.next("mark the image as complete")?;
        process.memory.write(p.base + control::PHASE, &Phase::Ready.encode())?;
    }
    Ok(())
}

/// Options to attach with: stops at system calls are recognisable; where a seccomp filter acts, it has to be
/// held off.
pub(crate) fn trace_options(process: &Process) -> i32 {
    ptrace::SYSGOOD | if process.status.seccomp { ptrace::SUSPEND_SECCOMP } else { 0 }
}

fn map_all(
    borrowed: &mut BorrowedThread<'_>,
    process: &Process,
    placements: &Placements<'_>,
    steps: &Steps,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<(), ProcessError> {
    for (start, size) in &placements.leftovers.mappings {
        steps.next("unmap what was left unfinished")?;
        borrowed.call("munmap", libc::SYS_munmap, [*start, *size, 0, 0, 0, 0])?;
    }
    for fd in &placements.leftovers.descriptors {
        steps.next("close what was left open")?;
        close(borrowed, process, *fd)?;
    }
    for p in placements.images {
        steps.next("create the named memory")?;
        let label = format!("upatch:{}\0", placements.name);
        let label = borrowed.put(label.as_bytes())?;
        let args = [label, MFD_CLOEXEC, 0, 0, 0, 0];
        match borrowed.try_call("memfd_create", libc::SYS_memfd_create, args)? {
            Ok(fd) => {
                let result = map_file(borrowed, process, fd, p, steps, mapped);
                let closed = close(borrowed, process, fd);
                result?;
                closed?;
            }
            // No file descriptor left, or not allowed: memory without a name will do.
            Err(_) => map_anonymous(borrowed, process, p, steps, mapped)?,
        }
        for (relocation, function) in &p.late {
            steps.next("ask the process which function to use")?;
            let value =
                borrowed.call_function(*function, RESOLVER_ARGUMENTS, p.base + p.layout.offsets.landing())?;
            let bytes = relocate::field(relocation, value, p.base)?;
            process.memory.write(p.base + relocation.address, &bytes)?;
        }
    }
    Ok(())
}

/// Makes the memory for pages of code.
fn make(
    borrowed: &mut BorrowedThread<'_>,
    placements: &Placements<'_>,
    steps: &Steps,
) -> Result<(), ProcessError> {
    if placements.code_pages.is_empty() {
        return Ok(());
    }
    steps.next("make memory for pages of code")?;
    let make = placements.code_pages.make(placements.place);
    let failed = |source| ProcessError::Os { what: "mmap in the process".into(), source };
    make.result(borrowed.call("mmap", make.number, make.args)?).map(drop).map_err(failed)
}

/// Exchanges the pages of code, for which the memory is there. Tells which traps of others are no more.
fn exchange(
    borrowed: &mut BorrowedThread<'_>,
    process: &Process,
    placements: &Placements<'_>,
    steps: &Steps,
) -> Result<Vec<u64>, ProcessError> {
    let Placements { code_pages, place, .. } = placements;
    if code_pages.is_empty() {
        return Ok(Vec::new());
    }
    let mut left = (*place, code_pages.size());
    let mut exchange = || {
        steps.next("fill pages of code")?;
        let contents = code_pages.contents_again(process, placements.contents)?;
        contents.fill(&process.memory, *place)?;
        for call in code_pages.moves(*place) {
            steps.next("exchange pages of code")?;
            borrowed.call("mremap", call.number, call.args)?;
            let end = left.0 + left.1;
            left = (call.args[0] + call.args[1], end - call.args[0] - call.args[1]);
        }
        Ok(contents.traps.clone())
    };
    let result = exchange();
    if result.is_err() {
        // Not what was moved away: something else may be there by now.
        let _ = borrowed.call("munmap", libc::SYS_munmap, [left.0, left.1, 0, 0, 0, 0]);
    }
    result
}

fn protection(access: Access) -> u64 {
    match access {
        Access::Read => 1,
        Access::Execute => 5,
        Access::Write => 3,
    }
}

fn map_file(
    borrowed: &mut BorrowedThread<'_>,
    process: &Process,
    fd: u64,
    p: &PreparedImage,
    steps: &Steps,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<(), ProcessError> {
    fill(process, fd, p, steps)?;
    map(borrowed, &mappings(p, fd), steps, mapped)
}

/// Through the file descriptor, so that the process never sees incomplete code nor needs writable code.
fn fill(process: &Process, fd: u64, p: &PreparedImage, steps: &Steps) -> Result<(), ProcessError> {
    steps.next("fill the memory")?;
    let path = format!("/proc/{}/fd/{fd}", process.view);
    let file = plain::open_memory(&path).map_err(ProcessError::os(path))?;
    file.write_all_at(&p.layout.bytes, 0).map_err(ProcessError::os("cannot fill the patch's memory"))
}

/// The calls that map an image of file `fd`, or of none: the whole where nothing is, then what has other
/// rights on top of that.
pub(super) fn mappings(p: &PreparedImage, fd: u64) -> Vec<SystemCall> {
    let kind = if fd == NO_FILE { MAP_PRIVATE | MAP_ANONYMOUS } else { MAP_PRIVATE };
    let call = |at, size, access, flags, offset| {
        let offset = if fd == NO_FILE { 0 } else { offset };
        SystemCall::new(libc::SYS_mmap, [at, size, protection(access), kind | flags, fd, offset])
    };
    let parts = p.layout.parts.iter();
    let parts = parts.map(|(offset, size, access)| call(p.base + offset, *size, *access, MAP_FIXED, *offset));
    [call(p.base, p.layout.offsets.size, Access::Read, MAP_FIXED_NOREPLACE, 0)]
        .into_iter()
        .chain(parts)
        .collect()
}

fn map_anonymous(
    borrowed: &mut BorrowedThread<'_>,
    process: &Process,
    p: &PreparedImage,
    steps: &Steps,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<(), ProcessError> {
    map(borrowed, &mappings(p, NO_FILE), steps, mapped)?;
    steps.next("fill the memory")?;
    process.memory.write(p.base, &p.layout.bytes)
}

/// Makes the calls of [`mappings`].
fn map(
    borrowed: &mut BorrowedThread<'_>,
    calls: &[SystemCall],
    steps: &Steps,
    mapped: &mut Vec<(u64, u64)>,
) -> Result<(), ProcessError> {
    for (number, call) in calls.iter().enumerate() {
        steps.next("map a segment")?;
        let got = borrowed.call("mmap", call.number, call.args)?;
        if number == 0 {
            mapped.push((got, call.args[1]));
        }
        call.result(got).map_err(|source| ProcessError::Os { what: "mmap".into(), source })?;
    }
    Ok(())
}

/// Size in bytes of a control block, as a check that images have room for it.
pub(crate) fn has_control_room(image: &Image) -> bool {
    let first = image.segments.first();
    first.is_some_and(|s| {
        s.address == 0 && s.access == Access::Read && s.size >= control::size(image.redirects.len())
    })
}
