//! Libraries that a patch needs and its target does not load. The dynamic loader of the process loads them: a
//! borrowed thread calls `dlopen` while all others stand, none of them in the loader or an allocator.
//!
//! They stay loaded. The loader counts calls of `dlopen` and `dlclose`: whoever else closes such a library
//! does not take it away from the patch.

use super::{
    apply::tables,
    instances::Instance,
    quiesce::{Zone, ZoneRule},
    returns,
};
use crate::{
    Busy, Located, Options, ProcessError,
    arch::borrow::LANDING,
    engine::{
        Hindrance,
        load::trace_options,
        remote::{BorrowedThread, Gadgets, has_room},
        target::{
            frames::Tables, linkmap, modules::Module, process::Process, steps::Steps, switches, symbols,
            threads::StoppedThreads,
        },
    },
    sys::page,
};
use std::collections::BTreeSet;

/// Stack for the dynamic loader and the constructors of libraries, in bytes.
const ROOM: u64 = 64 << 10;
/// `RTLD_NOW`: what is missing is told now. Without `RTLD_GLOBAL`, nothing else sees the library's symbols.
const NOW: u64 = 2;
/// Where a name is in the page that has the landing code.
const NAME: u64 = 64;
/// Most bytes that are read of a message.
const MESSAGE: usize = 256;

/// The functions that are called in the process.
struct Functions {
    dlopen: u64,
    dlerror: Option<u64>,
    /// `__errno_location`.
    errno: Option<u64>,
}

/// Libraries that images need which the process has not got yet.
fn wanted<'a>(instances: &[Instance<'a>]) -> Vec<&'a str> {
    let fresh = instances.iter().filter(|i| i.loaded.is_none());
    let names: BTreeSet<&str> = fresh.flat_map(|i| &i.elf.image.companions).map(String::as_str).collect();
    names.into_iter().collect()
}

/// Those that are not loaded.
pub(super) fn missing<'a>(process: &Process, instances: &[Instance<'a>]) -> Vec<&'a str> {
    let loaded = |name: &&str| process.modules.iter().any(|m| linkmap::is_called(m, name, &process.memory));
    wanted(instances).into_iter().filter(|name| !loaded(name)).collect()
}

/// Can libraries be brought into this process?
///
/// # Errors
/// [`ProcessError::Unfit`] with the reason if not.
pub(super) fn can_bring(process: &Process) -> Result<(), ProcessError> {
    functions(process).map(|_| ())
}

fn functions(process: &Process) -> Result<Functions, ProcessError> {
    let order = linkmap::search_order(process);
    let find = |name: &str| symbols::first_of(&order, name, &process.memory);
    let loader = process.loader().map(|l| l.start);
    match (find("dlopen"), loader) {
        (Some((module, _)), Some(loader)) if module.start == loader => Err(ProcessError::unfit(
            "the patch needs a library that the process does not load, and its dynamic loader and C library \
             are one (musl): whether a thread is inside of the loader cannot be told",
        )),
        (Some((_, dlopen)), Some(_)) => {
            let address = |name: &str| find(name).map(|(_, found)| found.address);
            let (dlerror, errno) = (address("dlerror"), address("__errno_location"));
            Ok(Functions { dlopen: dlopen.address, dlerror, errno })
        }
        _ => Err(ProcessError::unfit(
            "the patch needs a library that the process does not load, and the process has no dlopen",
        )),
    }
}

/// Has the process load what it lacks. Tells whether anything was asked of it, so that its modules may be
/// others than before.
///
/// # Errors
/// [`Hindrance::Busy`] where a thread may hold a lock of the loader or of an allocator;
/// [`ProcessError::Unfit`] with the loader's own words where it does not load a library.
pub(super) fn bring(
    process: &mut Process,
    instances: &[Instance<'_>],
    images: &[Located],
    steps: &Steps,
    options: &Options,
) -> Result<bool, Hindrance> {
    // What is loaded as a program starts, stays.
    let wanted = if process.held.is_some() { missing(process, instances) } else { wanted(instances) };
    let Some(first) = wanted.first() else { return Ok(false) };
    let functions = functions(process)?;
    let mut tables = tables(process, images);
    let held = if process.begins() {
        // Its loader has all in place and calls nobody yet: the only thread holds no lock.
        StoppedThreads::all(process, trace_options(process), &[])?
    } else if process.held.is_some() {
        let why = format!("is in its dynamic loader, which is to load {first} when it is done");
        return Err(Busy { tid: process.pid, function: None, why }.into());
    } else {
        let zones = zones(process);
        let stacks = switches::stacks(process);
        returns::quiesce(process, &mut tables, &zones, stacks, options)?
    };
    if !has_room(process, held.threads(), &mut tables, ROOM)? {
        return Err(Busy::no_room(process.pid).into());
    }
    load(process, &held, &mut tables, &functions, &wanted, steps)?;
    drop(held);
    process.look_again()?;
    Ok(true)
}

/// Code that no thread may be in: all of the dynamic loader, and what holds its locks while it calls others;
/// whoever runs code of the C library or of an allocator may hold one of theirs.
fn zones(process: &Process) -> Vec<Zone> {
    let order = linkmap::search_order(process);
    let of = |start, end, rule, name: &str| Zone {
        start,
        end,
        rule,
        entries: Vec::new(),
        name: format!("{name}, which loading a library needs"),
    };
    let module = |m: &Module, rule| of(m.start, m.end, rule, m.name());
    let definition = |name: &str| symbols::first_of(&order, name, &process.memory);
    let mut zones: Vec<Zone> = process.loader().map(|l| module(l, ZoneRule::Function)).into_iter().collect();
    // The unwinder looks at tables under a lock of the loader's.
    zones.extend(definition("__register_frame_info").map(|(m, _)| module(m, ZoneRule::Function)));
    zones.extend(definition("dl_iterate_phdr").map(|(_, found)| {
        of(found.address, found.address.saturating_add(found.size), ZoneRule::Function, "dl_iterate_phdr")
    }));
    let running = ["malloc", "pthread_mutex_lock", "dlopen"].into_iter().filter_map(definition);
    zones.extend(running.map(|(m, _)| module(m, ZoneRule::Running)));
    zones
}

fn load(
    process: &Process,
    held: &StoppedThreads,
    tables: &mut Tables,
    functions: &Functions,
    names: &[&str],
    steps: &Steps,
) -> Result<(), ProcessError> {
    let gadgets = Gadgets::find(process)?;
    for thread in held.threads() {
        steps.next("take a thread over to load a library")?;
        let Some(mut borrowed) = BorrowedThread::begin(process, thread, tables, gadgets, ROOM, steps)? else {
            continue;
        };
        let result = load_by(&mut borrowed, process, functions, names);
        let ended = borrowed.end();
        return result.and(ended);
    }
    Err(ProcessError::unfit("no thread has enough room on its stack to load a library"))
}

fn load_by(
    borrowed: &mut BorrowedThread<'_>,
    process: &Process,
    functions: &Functions,
    names: &[&str],
) -> Result<(), ProcessError> {
    let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let rights = (libc::PROT_READ | libc::PROT_EXEC) as u64;
    let size = page::size();
    let room = borrowed.call("mmap", libc::SYS_mmap, [0, size, rights, private, u64::MAX, 0])?;
    let result = process.memory.write(room, LANDING).and_then(|()| {
        let errno = match functions.errno {
            Some(function) => Some(borrowed.call_function(function, [0; 3], room)?),
            None => None,
        };
        let kept = errno.map(|at| Ok::<_, ProcessError>((at, process.memory.read(at, 4)?))).transpose()?;
        let loaded = names.iter().try_for_each(|name| open(borrowed, process, functions, name, room));
        // What a call of the thread's own has left there is still to be read.
        if let Some((at, errno)) = kept {
            process.memory.write(at, &errno)?;
        }
        loaded
    });
    let unmapped = borrowed.call("munmap", libc::SYS_munmap, [room, size, 0, 0, 0, 0]);
    result.and(unmapped.map(|_| ()))
}

/// Calls `dlopen` by the code at `room`.
fn open(
    borrowed: &mut BorrowedThread<'_>,
    process: &Process,
    functions: &Functions,
    name: &str,
    room: u64,
) -> Result<(), ProcessError> {
    let at = room + NAME;
    let text: Vec<u8> = name.bytes().chain([0]).collect();
    process.memory.write(at, &text)?;
    if borrowed.call_function(functions.dlopen, [at, NOW, 0], room)? != 0 {
        tracing::info!(library = name, "the process has loaded it");
        return Ok(());
    }
    // The message goes with this, so that the program's own next question does not get it.
    let message = match functions.dlerror {
        Some(dlerror) => borrowed.call_function(dlerror, [0; 3], room)?,
        None => 0,
    };
    let bytes = process.memory.read(message, MESSAGE).unwrap_or_default();
    let why = String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
    Err(ProcessError::unfit(format!(
        "the patch needs library {name}, which its dynamic loader does not load{}{why}",
        if why.is_empty() { "" } else { ": " }
    )))
}
