//! Active patches that replace the same function. The one that was applied last is in force; what it covers
//! comes back when it is taken out.

use super::{backend::Survey, inventory::Inventory};
use crate::{
    catalog::{Entry, LoadedEntry, Owner},
    state::Record,
};
use patchfile::{Manifest, Uuid, manifest::Elf};

/// Functions of one ELF file that two active patches replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// The patch that was applied last, whose code is in force.
    pub(crate) upper: (Uuid, String),
    /// The one that it covers.
    pub(crate) lower: (Uuid, String),
    /// The ELF file.
    pub(crate) elf: String,
    /// Names of the functions.
    pub(crate) functions: Vec<String>,
}

impl Overlap {
    /// Is `uuid` covered here, and by or over which other patch?
    pub(crate) fn of(&self, uuid: Uuid) -> Option<(bool, &(Uuid, String))> {
        match uuid {
            u if u == self.lower.0 => Some((true, &self.upper)),
            u if u == self.upper.0 => Some((false, &self.lower)),
            _ => None,
        }
    }

    /// In words, for `uuid`.
    pub(crate) fn words(&self, uuid: Uuid) -> Option<String> {
        let (covered, (other, id)) = self.of(uuid)?;
        let functions = self.functions.join(", ");
        Some(if covered {
            format!(
                "{functions} of {}: covered by {id} ({other}), which was applied later and is in force",
                self.elf
            )
        } else {
            format!("{functions} of {}: in force over {id} ({other}), which replaces it too", self.elf)
        })
    }
}

/// All overlaps of active patches, in order of application.
pub(crate) fn overlaps(inventory: &Inventory, survey: &Survey, owner: Owner) -> Vec<Overlap> {
    let active = active(inventory, survey);
    let mut found = Vec::new();
    for (at, lower) in active.iter().enumerate() {
        for upper in active[at + 1..].iter().filter(|upper| meet(lower, upper, survey)) {
            // A process that has both tells which is on top.
            let swapped = on_top(survey, lower.0.manifest.uuid, upper.0.manifest.uuid);
            let (lower, upper) = if swapped { (upper.0, lower.0) } else { (lower.0, upper.0) };
            let named = |e: &Entry| (e.manifest.uuid, e.manifest.id());
            for (elf, functions) in shared(lower, upper, owner) {
                found.push(Overlap { upper: named(upper), lower: named(lower), elf, functions });
            }
        }
    }
    found
}

/// What is known of an active patch: its files, and what is recorded; that is nothing of what users do with
/// their own processes.
type Active<'a> = (&'a Entry, Option<&'a Record>);

fn active<'a>(inventory: &'a Inventory, survey: &Survey) -> Vec<Active<'a>> {
    let recorded = inventory.state.patches.iter().filter(|r| r.state.is_active());
    let recorded = recorded.filter_map(|r| Some((inventory.catalog.get(r.uuid)?, Some(r))));
    let inactive = |e: &&Entry| inventory.state.get(e.manifest.uuid).is_none_or(|r| !r.state.is_active());
    let carried = |e: &&Entry| survey.carriers(e.manifest.uuid).next().is_some();
    let others = inventory.catalog.entries.iter().filter(inactive).filter(carried).map(|e| (e, None));
    recorded.chain(others).collect()
}

/// What `patch`, once it is applied, has in common with active ones that are no versions of it: their ids,
/// ELF file, functions.
pub(crate) fn covers(
    inventory: &Inventory,
    patch: &LoadedEntry,
    owner: Owner,
) -> Vec<(String, String, Vec<String>)> {
    let mine = &patch.manifest;
    let builds = crate::state::builds(mine);
    let other = |r: &&Record| {
        let version = r.id == mine.id() && crate::state::same_file(&r.builds, &builds);
        r.state.is_active() && r.uuid != mine.uuid && !version
    };
    let mut found = Vec::new();
    for record in inventory.state.patches.iter().filter(other) {
        let Some(entry) = inventory.catalog.get(record.uuid) else { continue };
        let both = by_name(mine, &entry.manifest);
        if both.is_empty() {
            continue;
        }
        let theirs = entry.load(owner).ok();
        let both = both.into_iter().filter_map(|b| narrowed(b, Some(patch), theirs.as_ref()));
        found.extend(both.map(|(elf, functions)| (record.id.clone(), elf, functions)));
    }
    found
}

/// Can one process have both? A patch that is only for some processes counts only if one of these has the
/// other.
fn meet(a: &Active<'_>, b: &Active<'_>, survey: &Survey) -> bool {
    match (a.1, b.1) {
        (Some(a), Some(b)) if a.is_version_of(b) => return false,
        (Some(a), Some(b)) if a.only.is_none() && b.only.is_none() => return true,
        _ => {}
    }
    survey.processes.iter().any(|p| p.runs(a.0.manifest.uuid) && p.runs(b.0.manifest.uuid))
}

/// Is there a process where `a` was applied after `b`?
fn on_top(survey: &Survey, a: Uuid, b: Uuid) -> bool {
    survey.processes.iter().any(|p| {
        let number = |uuid| {
            let blocks = p.blocks.as_deref().unwrap_or_default().iter();
            blocks.filter(|l| l.control.uuid == uuid && l.in_force).map(|l| l.control.sequence).max()
        };
        matches!((number(a), number(b)), (Some(a), Some(b)) if a > b)
    })
}

/// An ELF file of both, its place in both manifests, and names that both list as changed.
type SharedElf = (String, (usize, usize), Vec<String>);

fn by_name(a: &Manifest, b: &Manifest) -> Vec<SharedElf> {
    let mut found = Vec::new();
    for (i, mine) in a.elfs.iter().enumerate() {
        let same = |e: &Elf| e.build_id == mine.build_id && e.code == mine.code;
        for (j, theirs) in b.elfs.iter().enumerate().filter(|(_, e)| same(e)) {
            let both: Vec<String> =
                mine.changed.iter().filter(|f| theirs.changed.contains(f)).cloned().collect();
            if !both.is_empty() {
                found.push((mine.name.clone(), (i, j), both));
            }
        }
    }
    found
}

fn shared(a: &Entry, b: &Entry, owner: Owner) -> Vec<(String, Vec<String>)> {
    let both = by_name(&a.manifest, &b.manifest);
    if both.is_empty() {
        return Vec::new();
    }
    let (a, b) = (a.load(owner).ok(), b.load(owner).ok());
    both.into_iter().filter_map(|both| narrowed(both, a.as_ref(), b.as_ref())).collect()
}

/// Two static functions may have one name: where the images can be read, those count that are at one place.
fn narrowed(
    (elf, (i, j), mut names): SharedElf,
    a: Option<&LoadedEntry>,
    b: Option<&LoadedEntry>,
) -> Option<(String, Vec<String>)> {
    let places = |patch: &LoadedEntry, elf: usize, name: &str| -> Option<Vec<u64>> {
        let redirects = patch.patch.elfs.get(elf)?.image.redirects.iter();
        Some(redirects.filter(|r| r.name == name).map(|r| r.old).collect())
    };
    if let (Some(a), Some(b)) = (a, b) {
        names.retain(|name| match (places(a, i, name), places(b, j, name)) {
            (Some(mine), Some(theirs)) if !mine.is_empty() && !theirs.is_empty() => {
                mine.iter().any(|at| theirs.contains(at))
            }
            _ => true,
        });
    }
    (!names.is_empty()).then_some((elf, names))
}
