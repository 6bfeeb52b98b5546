//! Loading and activating a patch.

use super::{
    code_pages, companions,
    entry::{EntrySite, SiteContent, jump_at},
    hooks, inspect,
    instances::{Instance, find_instances, loaded, outdated, pending},
    outwait::Quiescence,
    quiesce::{self, Zone, ZoneRule},
    register::Registrar,
    remove::{afterwards, deactivate_in},
    returns,
    transaction::Transaction,
};
use crate::{
    Busy, CheckReport, LoadedPatch, Located, Options, Outcome, ProcessError,
    engine::{
        Hindrance,
        load::{self, Leftovers, LoadRequest},
        remote::{FUNCTION_ROOM, has_room},
        target::{
            frames::Tables,
            loader::is_being_loaded,
            process::{self, Process},
            steps::Steps,
            switches::{self, Stacks},
            threads::StoppedThreads,
        },
    },
};
use patchfile::{
    Uuid,
    control::{Entry, Phase},
    image::{HookPoint, Redirect},
};
use std::{collections::BTreeSet, time::Duration};

/// Brings `patch` into the process and puts its new code in force, in all of its ELF files that the process
/// maps or in none. Loads what is not loaded yet; a patch that was deactivated earlier is activated again in
/// the memory it has.
///
/// # Errors
/// See [`ProcessError`]; the process is as before.
pub fn apply(pid: i32, patch: &LoadedPatch, options: &Options) -> Result<Outcome, ProcessError> {
    replace(pid, &[], patch, options)
}

/// Brings `patch` into force and takes the `older` versions of it out that the process has, with the threads
/// stopped once: none of them ever runs code that neither has changed. Without any of them in the process,
/// like [`apply`].
///
/// # Errors
/// See [`ProcessError`]; the process is as before.
pub fn replace(
    pid: i32,
    older: &[Uuid],
    patch: &LoadedPatch,
    options: &Options,
) -> Result<Outcome, ProcessError> {
    process::on_own_thread(pid, || match open(pid, options) {
        Ok(mut process) => {
            let result = apply_here(&mut process, patch, older, options);
            Outcome::of(result).map_err(|e| process.blame(e))
        }
        Err(hindrance) => Outcome::of(Err(hindrance)),
    })
}

/// The process, with all that it has loaded.
fn open(pid: i32, options: &Options) -> Result<Process, Hindrance> {
    let mut process = Process::open_alone(pid, options)?;
    if is_being_loaded(&mut process)? {
        let why = "is in a process whose dynamic loader is at work".into();
        return Err(Busy { tid: pid, function: None, why }.into());
    }
    Ok(process)
}

/// Would [`apply`] work now? Changes nothing (the threads are stopped for an instant to see whether they are
/// in the way).
///
/// # Errors
/// What [`apply`] would fail with.
pub fn check(pid: i32, patch: &LoadedPatch, options: &Options) -> Result<CheckReport, ProcessError> {
    process::on_own_thread(pid, || match open(pid, options) {
        Ok(mut process) => check_here(&mut process, patch, options).map_err(|e| process.blame(e)),
        Err(Hindrance::Busy(busy)) => Ok(CheckReport { busy: Some(busy), ..CheckReport::default() }),
        Err(Hindrance::Failed(error)) => Err(error),
    })
}

/// The images of the patches `older` that are in force.
fn superseded(images: &[Located], older: &[Uuid]) -> Vec<usize> {
    let is = |l: &Located| {
        let known = older.contains(&l.control.uuid) && l.control.phase == Phase::Ready;
        known && (l.in_force || l.control.active)
    };
    last_first(images, (0..images.len()).filter(|i| is(&images[*i])).collect())
}

/// The order of going out of force: ELF files that use what the patch adds to others come after them in the
/// manifest.
pub(super) fn last_first(images: &[Located], mut change: Vec<usize>) -> Vec<usize> {
    change.sort_by_key(|i| std::cmp::Reverse(images[*i].control.elf));
    change
}

/// Does what [`apply`] does, on the calling OS thread. No other thread of ours is at the process.
pub(crate) fn apply_here(
    process: &mut Process,
    patch: &LoadedPatch,
    older: &[Uuid],
    options: &Options,
) -> Result<Outcome, Hindrance> {
    let steps = Steps::new(options);
    let mut images = inspect::locate(&process.maps, &process.memory);
    let mut instances = find_instances(process, patch, &images)?;
    let older: Vec<Uuid> = older.iter().copied().filter(|old| *old != patch.uuid).collect();
    let in_force = |i: &Instance<'_>, images: &[Located]| i.loaded.is_some_and(|l| images[l].in_force);
    if instances.iter().all(|i| in_force(i, &images)) {
        let mut outcome = Outcome::Already;
        if images.iter().any(|l| !l.disturbed.is_empty()) {
            outcome = mend(process, patch, &instances, &mut images, &steps, options)?;
        }
        // Left over where an applier was killed between the two.
        for l in superseded(&images, &older) {
            outcome = match deactivate_in(process, images[l].control.uuid, options)? {
                Outcome::Already => outcome,
                done => done,
            };
        }
        return Ok(outcome);
    }
    check_entries(process, &instances, &images)?;
    if companions::bring(process, &instances, &images, &steps, options)? {
        instances = find_instances(process, patch, &images)?;
    }
    let mut tables = tables(process, &images);
    let code_pages = code_pages::to_exchange(process, &instances, &images);
    let mut traps = Vec::new();
    if instances.iter().any(|i| i.loaded.is_none()) || !code_pages.is_empty() {
        let stale: Vec<_> = images
            .iter()
            .filter(|l| l.control.uuid == patch.uuid && l.control.phase == Phase::Loading)
            .map(|l| (l.address, l.control.size))
            .collect();
        // A program that begins has no open files of ours; one that loads a library is looked at again some
        // other time.
        let stale = if process.held.is_some() {
            Leftovers { mappings: stale, descriptors: Vec::new() }
        } else {
            Leftovers::find(process, stale)
        };
        let (pending, loaded) = (pending(&instances), loaded(&instances, &images));
        let (name, uuid) = (patch.name.as_str(), patch.uuid);
        let wanted = LoadRequest {
            name,
            uuid,
            pending: &pending,
            loaded: &loaded,
            code_pages: &code_pages,
            leftovers: &stale,
        };
        let fresh = load::load(process, &mut tables, &wanted, &steps)?;
        images.retain(|l| !stale.mappings.iter().any(|(address, _)| *address == l.address));
        images.extend(fresh.images);
        images.sort_by_key(|l| l.address);
        traps = fresh.traps;
        instances = find_instances(process, patch, &images)?;
    }
    let change: Vec<usize> = instances.iter().filter_map(|i| i.loaded).collect();
    if change.len() != instances.len() {
        return Err(ProcessError::unfit("the image is not where it was mapped").into());
    }
    let outdated = outdated(process, &instances, &images)?;
    let old = superseded(&images, &older);
    let mut zones = zones(process, &instances, &images, options.lazy);
    zones.extend(images.iter().flat_map(hop_zones));
    if !options.lazy {
        zones.extend(old.iter().flat_map(|i| image_zones(process, &images[*i])));
    }
    let register = instances.iter().zip(&change).filter(|(i, l)| {
        i.elf.image.unwind.is_some_and(|u| u.register) && images[**l].control.registered == 0
    });
    let register: Vec<usize> = register.map(|(_, l)| *l).collect();
    let registrar = if register.is_empty() { None } else { Registrar::find(process)? };
    zones.extend(registrar.iter().flat_map(|r| r.zones.clone()));
    let idle = process.begins() && !zones.iter().any(|z| in_loader(process, z));
    let stacks = if idle { Stacks::Own } else { switches::stacks(process) };
    // What is stopped is let go when `held` is dropped, after the last write.
    let held = if idle {
        StoppedThreads::all(process, load::trace_options(process), &[])?
    } else {
        returns::quiesce(process, &mut tables, &zones, stacks, options)?
    };
    let all: Vec<usize> = old.iter().chain(&change).copied().collect();
    let room = hooks::room(process, &images, &all)?.max(registrar.as_ref().map_or(0, |_| FUNCTION_ROOM));
    if room > 0 && !has_room(process, held.threads(), &mut tables, room)? {
        return Err(Busy::no_room(process.pid).into());
    }
    let behind =
        if options.lazy { still_old(process, &held, &mut tables, &instances, &images) } else { None };
    for (address, field) in outdated {
        steps.next("say where a sibling is")?;
        process.memory.write(address, &field)?;
    }
    if let Some(registrar) = registrar {
        for l in register {
            registrar.register(process, &held, &mut tables, &mut images[l], &steps)?;
        }
    }
    hooks::call(process, &held, &mut tables, &images, &old, HookPoint::PreUnapply, &steps)?;
    hooks::call(process, &held, &mut tables, &images, &change, HookPoint::PreApply, &steps)?;
    // The new patch goes on top of the old one, then the old one goes. So what both change is never as it was
    // linked in between.
    Transaction::new(&process.memory, &mut images, &steps).run(&change, true)?;
    if let Err(error) = Transaction::new(&process.memory, &mut images, &steps).run(&old, false) {
        Transaction::new(&process.memory, &mut images, &steps).run(&change, false)?;
        return Err(error.into());
    }
    let left = hooks::call(process, &held, &mut tables, &images, &old, HookPoint::PostUnapply, &steps);
    let called = hooks::call(process, &held, &mut tables, &images, &change, HookPoint::PostApply, &steps);
    if called.is_err() {
        Transaction::new(&process.memory, &mut images, &steps).run(&old, true)?;
        Transaction::new(&process.memory, &mut images, &steps).run(&change, false)?;
    }
    let but: Vec<String> = behind.into_iter().chain(code_pages::without(&traps)).collect();
    called?;
    Ok(match afterwards(left) {
        Outcome::Done if !but.is_empty() => Outcome::DoneBut(but.join("; ")),
        outcome => outcome,
    })
}

/// Lets entries lead to the new code again that something else has changed since they did.
fn mend(
    process: &mut Process,
    patch: &LoadedPatch,
    instances: &[Instance<'_>],
    images: &mut [Located],
    steps: &Steps,
    options: &Options,
) -> Result<Outcome, Hindrance> {
    let zones = zones(process, instances, images, true);
    let mut tables = tables(process, images);
    let code_pages = code_pages::to_exchange(process, instances, images);
    if !code_pages.is_empty() {
        let (name, uuid, leftovers) = (patch.name.as_str(), patch.uuid, Leftovers::default());
        let wanted = LoadRequest {
            name,
            uuid,
            pending: &[],
            loaded: &[],
            code_pages: &code_pages,
            leftovers: &leftovers,
        };
        load::load(process, &mut tables, &wanted, steps)?;
    }
    let stacks = switches::stacks(process);
    let _held = returns::quiesce(process, &mut tables, &zones, stacks, options)?;
    Transaction::new(&process.memory, images, steps).mend()?;
    let what = "something else (a breakpoint, a uprobe) had changed the entry of a function since it was \
     patched; it leads to the new code again";
    Ok(Outcome::DoneBut(what.into()))
}

/// In words, what goes on in its old form after a lazy change: the functions that threads are in.
fn still_old(
    process: &Process,
    held: &StoppedThreads,
    tables: &mut Tables,
    instances: &[Instance<'_>],
    images: &[Located],
) -> Option<String> {
    let threads: Vec<_> = held.threads().iter().collect();
    let busy =
        quiesce::find_busy(process, &threads, tables, &zones(process, instances, images, false), false);
    let names: BTreeSet<&str> =
        busy.iter().map(|o| o.busy.function.as_deref().unwrap_or("code that cannot be told")).collect();
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} of its threads still in {}: each call that is under way ends in its old form, while what it \
             calls is new",
            busy.len(),
            names.join(", ")
        )
    })
}

fn check_here(
    process: &mut Process,
    patch: &LoadedPatch,
    options: &Options,
) -> Result<CheckReport, ProcessError> {
    let images = inspect::locate(&process.maps, &process.memory);
    let instances = find_instances(process, patch, &images)?;
    let modules =
        instances.iter().filter_map(|i| Some((usize::try_from(i.elf.index).ok()?, i.module.start))).collect();
    let mut report = CheckReport { modules, ..CheckReport::default() };
    if instances.iter().all(|i| i.loaded.is_some_and(|l| images[l].in_force)) {
        report.already = true;
        return Ok(report);
    }
    check_entries(process, &instances, &images)?;
    code_pages::to_exchange(process, &instances, &images).contents(process)?;
    if companions::missing(process, &instances).is_empty() {
        load::rehearse(process, &pending(&instances), &loaded(&instances, &images))?;
    } else {
        companions::can_bring(process)?;
    }
    let zones = zones(process, &instances, &images, options.lazy);
    let mut tables = tables(process, &images);
    let stacks = switches::stacks(process);
    report.busy = match StoppedThreads::all(process, load::trace_options(process), &[]) {
        Ok(held) => {
            Quiescence::new(process, held, &mut tables, &zones, stacks, options).reach(Duration::ZERO)?
        }
        Err(Hindrance::Busy(busy)) => Some(busy),
        Err(Hindrance::Failed(error)) => return Err(error),
    };
    Ok(report)
}

/// Are the functions' entries as linked, or redirected by another patch of ours?
fn check_entries(
    process: &Process,
    instances: &[Instance<'_>],
    images: &[Located],
) -> Result<(), ProcessError> {
    for instance in instances {
        for redirect in &instance.elf.image.redirects {
            check_entry(process, redirect, EntrySite::of(redirect, instance.module.bias), images)?;
        }
    }
    Ok(())
}

fn check_entry(
    process: &Process,
    redirect: &Redirect,
    way: EntrySite,
    images: &[Located],
) -> Result<(), ProcessError> {
    let memory = &process.memory;
    let known = |found: SiteContent, here: &dyn Fn(&EntrySite) -> bool| {
        let mut entries = images.iter().flat_map(|l| &l.control.entries);
        matches!(found, SiteContent::Jump(to)
            if entries.any(|e| here(&EntrySite::from(e)) && (to == e.new || to == e.stub)))
    };
    let found = way.found(memory)?;
    let entry = found == SiteContent::Linked || known(found, &|w| w.site == way.site);
    let padding = match way.linked_hop() {
        None => true,
        Some((hop, linked)) => {
            let mine = |w: &EntrySite| w.site == way.site && w.hop() == Some(hop);
            memory.read(hop, linked.len())? == linked || known(jump_at(memory, hop)?, &mine)
        }
    };
    if entry && padding {
        return Ok(());
    }
    let ranges = |w: EntrySite| std::iter::once(w.overwritten()).chain(w.between());
    let meets = |e: &Entry| {
        let other = EntrySite::from(e);
        other != way && ranges(other).any(|a| ranges(way).any(|b| a.start < b.end && b.start < a.end))
    };
    if let Some(other) = images.iter().find(|l| l.control.entries.iter().any(meets)) {
        let why = format!("{} has redirected {} at another place", other.control.name, redirect.name);
        return Err(ProcessError::Conflict { why });
    }
    Err(ProcessError::EntryChanged { function: redirect.name.clone(), address: way.site })
}

/// Code that no thread may be in when the patch goes in.
fn zones(process: &Process, instances: &[Instance<'_>], images: &[Located], lazy: bool) -> Vec<Zone> {
    let mut zones = Vec::new();
    for instance in instances {
        let at = |address: u64| instance.module.bias.wrapping_add(address);
        for r in &instance.elf.image.redirects {
            let way = EntrySite::of(r, instance.module.bias);
            let (site, name) = (way.site, r.name.clone());
            // A thread at the first byte is at the entry.
            let overwritten = site + 1..way.overwritten().end;
            zones.extend(std::iter::once(overwritten).chain(way.between()).map(|range| Zone {
                start: range.start,
                end: range.end,
                rule: ZoneRule::Bytes,
                entries: Vec::new(),
                name: name.clone(),
            }));
            if lazy {
                continue;
            }
            let (start, end) = (at(r.old), at(r.old).wrapping_add(r.old_size));
            zones.push(Zone {
                start,
                end,
                rule: ZoneRule::Function,
                entries: vec![start, site],
                name: name.clone(),
            });
            for (address, size) in &r.fragments {
                let (start, end) = (at(*address), at(*address).wrapping_add(*size));
                zones.push(Zone {
                    start,
                    end,
                    rule: ZoneRule::Function,
                    entries: Vec::new(),
                    name: name.clone(),
                });
            }
            // A patch that is in force for the same function: its code is the old code now.
            let shares = |l: &&Located| l.control.entries.iter().any(|e| e.site == site);
            for image in images.iter().filter(shares) {
                zones.extend(image_zones(process, image));
            }
        }
    }
    zones
}

/// The one thread of a program that has not begun has nothing but code of its loader on its stack.
fn in_loader(process: &Process, zone: &Zone) -> bool {
    process.loader().is_none_or(|l| zone.start < l.end && zone.end > l.start)
}

/// Padding that entries of an image go by: no thread may be between the two jumps when it is put back.
pub(super) fn hop_zones(image: &Located) -> impl Iterator<Item = Zone> + use<'_> {
    let between = image.control.entries.iter().filter_map(|e| EntrySite::from(e).between());
    between.map(|range| Zone {
        start: range.start,
        end: range.end,
        rule: ZoneRule::Bytes,
        entries: Vec::new(),
        name: format!("code of patch {}", image.control.name),
    })
}

/// The code of an image.
pub(super) fn image_zones(process: &Process, image: &Located) -> Vec<Zone> {
    let end = image.address.saturating_add(image.control.size);
    let inside = process.maps.iter().filter(|m| m.execute && m.start < end && m.end > image.address);
    inside
        .map(|m| Zone {
            start: m.start.max(image.address),
            end: m.end.min(end),
            rule: ZoneRule::Function,
            entries: Vec::new(),
            name: format!("code of patch {}", image.control.name),
        })
        .collect()
}

/// Unwind tables of modules and images.
pub(super) fn tables(process: &Process, images: &[Located]) -> Tables {
    // At the start of a program the one stack is in the dynamic loader: no other tables are needed.
    let mut tables = if process.held.is_some() { Tables::default() } else { process.tables() };
    for image in images.iter().filter(|l| l.control.eh_frame != 0) {
        let end = image.address.saturating_add(image.control.size);
        tables.add_image(
            image.address,
            end,
            image.address + u64::from(image.control.eh_frame),
            &process.memory,
        );
    }
    tables
}
