//! The ways from the old functions to the new ones.

use differ::Refusal;
use patchfile::image::Redirect;

use super::layout::Layout;
use super::padding::Padding;
use super::replacements::Replacement;
use super::target::TargetElf;
use crate::arch::{Entry, Machine, OldFunction};
use crate::chunks::{Chunks, Described, steps, table};
use crate::error::{LinkError, refusal};
use crate::locate::linked::Linked;

/// An entry with the chunks of its stub and of the old first instructions.
#[derive(Clone, Debug)]
pub(crate) struct PlacedEntry {
    entry: Entry,
    stub: usize,
    resume: Option<usize>,
}

/// A function without room for a jump: why it cannot be redirected, the index of its unit, and its name
/// there.
pub(crate) type Short = (Refusal, (usize, String));

/// Plans every entry.
pub(crate) fn entries(
    replacements: &[Replacement],
    (linked, target): (&Linked<'_>, &TargetElf<'_>),
    refused: &mut Vec<Refusal>,
) -> (Vec<Entry>, Vec<Short>) {
    let mut entries = Vec::with_capacity(replacements.len());
    let mut short = Vec::new();
    let old = |r: &Replacement| OldFunction {
        name: r.name.clone(),
        address: r.old,
        size: r.old_size,
        bytes: target.elf.bytes_from(r.old),
        reach: r.reach,
    };
    let machine = target.machine;
    let mut padding = Padding::new(linked, target);
    // Who has room at the entry may take it from the padding behind it.
    replacements.iter().for_each(|r| padding.take(machine.overwritten(&old(r))));
    for r in replacements {
        let old = old(r);
        let ranges = std::iter::once((r.old, r.old_size)).chain(r.fragments.iter().copied());
        let code: Vec<(u64, &[u8])> = ranges
            .map(|(address, size)| {
                let bytes = target.elf.bytes_from(address);
                (address, bytes.get(..usize::try_from(size).unwrap_or(usize::MAX)).unwrap_or(bytes))
            })
            .collect();
        match machine.plan_entry(&old, &code, &mut |site| padding.hop(site)) {
            Ok(entry) if entry.resume.is_none() && replacements.len() > 1 => refused.push(refusal(
                "function entry cannot be moved",
                format!("{} ({})", r.name, r.unit),
                "its code branches into its first instructions, or they depend on where they are",
                "change this function alone in a patch of its own",
            )),
            Ok(entry) => entries.push(entry),
            Err(refusal) => short.push((refusal, (r.owner, r.name.clone()))),
        }
    }
    (entries, short)
}

/// Stub and resumption of each redirect: chunks.
pub(crate) fn place_entries(
    replacements: &[Replacement],
    entries: Vec<Entry>,
    machine: &dyn Machine,
    chunks: &mut Chunks,
) -> Result<Vec<PlacedEntry>, LinkError> {
    let mut described = chunks.take_described();
    let mut placed = Vec::with_capacity(entries.len());
    for (index, (replacement, mut entry)) in replacements.iter().zip(entries).enumerate() {
        let stub = chunks.add(machine.redirect_stub(index, &replacement.name, replacement.new));
        let size = chunks.get(stub).map_or(0, |c| c.size);
        described.push(Described { chunk: stub, size, program: Vec::new() });
        let resume = entry.resume.take().map(|(chunk, moves)| {
            let size = chunk.size;
            let resume = chunks.add(chunk);
            described.push(Described { chunk: resume, size, program: steps(&moves) });
            resume
        });
        placed.push(PlacedEntry { entry, stub, resume });
    }
    if !described.is_empty() {
        let table = table(machine.frame_rules(), &described)
            .map_err(|_| LinkError::Inconsistent("the code made for the image is too large".to_owned()))?;
        chunks.add(table);
    }
    Ok(placed)
}

pub(crate) fn redirects(
    replacements: &[Replacement],
    placed: &[PlacedEntry],
    layout: &Layout,
) -> Result<Vec<Redirect>, LinkError> {
    let mut redirects = Vec::with_capacity(replacements.len());
    for (r, PlacedEntry { entry, stub, resume }) in replacements.iter().zip(placed) {
        let Some(new) = layout.address(r.new) else {
            return Err(LinkError::Inconsistent(format!("{}: the new function has no address", r.name)));
        };
        redirects.push(Redirect {
            name: r.name.clone(),
            old: r.old,
            old_size: r.old_size,
            skip: entry.skip,
            original: entry.original,
            new,
            stub: layout.addresses[*stub],
            resume: resume.map(|chunk| layout.addresses[chunk]),
            fragments: r.fragments.clone(),
            hop: entry.hop,
        });
    }
    Ok(redirects)
}
