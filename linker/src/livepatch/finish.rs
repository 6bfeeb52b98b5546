//! Makes the module that the kernel loads of the one that Kbuild linked.
//!
//! A module can only link what is exported. All else becomes symbols `.klp.sym.OBJECT.NAME,POSITION` in the
//! section number `SHN_LIVEPATCH`, with their relocations in `.klp.rela.OBJECT.SECTION`
//! (`Documentation/livepatch/module-elf-format.rst`). This comes last, so that `objtool` and `modpost` see
//! ordinary symbols.

use std::collections::HashMap;

use differ::Refusal;

use super::checks;
use super::symvers::KernelObject;
use super::unit::{KernelContext, Parts, Way};
use crate::elf::{FurtherRelocations, PlainPlace, PlainSection, Rela, Relocatable, SHF_ALLOC, STB_WEAK};
use crate::error::{LinkError, refusal};

const SHN_LIVEPATCH: u16 = 0xff20;
const SHF_RELA_LIVEPATCH: u64 = 0x0010_0000;
const SHF_INFO_LINK: u64 = 0x40;
/// The kernel reads no longer names of objects and of symbols, in bytes (`MODULE_NAME_LEN`; `KSYM_NAME_LEN`
/// of the oldest kernels).
const LONGEST: (usize, usize) = (55, 127);
const FILE: &str = "the patch module";

/// Makes a patch module of what Kbuild linked: livepatch relocations for what no module can link by itself.
/// Nothing is handed out that the kernel would stumble over.
///
/// # Errors
/// [`LinkError::Refused`] with every reason; [`LinkError::Elf`] for a damaged file.
pub fn finish(module: &[u8], parts: &Parts, context: &KernelContext<'_>) -> Result<Vec<u8>, LinkError> {
    let bad = |why: String| LinkError::Elf { file: FILE.to_owned(), why };
    let mut object = Relocatable::read(module).map_err(bad)?;
    let (livepatch, mut refusals) = name_symbols(&mut object, parts, context);
    for section in object.sections.iter_mut().filter(|s| s.has(SHF_ALLOC)) {
        move_relocations(section, &livepatch);
    }
    refusals.extend(checks::all(&object, parts, context));
    if !refusals.is_empty() {
        return Err(LinkError::Refused(refusals));
    }
    object.to_bytes().map_err(bad)
}

/// Gives what livepatch resolves its names. Returns these symbols, with the object whose relocations have
/// them.
fn name_symbols(
    object: &mut Relocatable,
    parts: &Parts,
    context: &KernelContext<'_>,
) -> (HashMap<usize, KernelObject>, Vec<Refusal>) {
    let references: HashMap<&str, _> = parts.references.iter().map(|r| (r.symbol.as_str(), r)).collect();
    let (mut livepatch, mut refusals) = (HashMap::new(), Vec::new());
    for (index, symbol) in object.symbols.iter_mut().enumerate() {
        if symbol.place != PlainPlace::Undefined || symbol.name.is_empty() {
            continue;
        }
        let Some(reference) = references.get(symbol.name.as_str()) else {
            if context.symvers.exporter(&symbol.name).is_none() && symbol.binding != STB_WEAK {
                refusals.push(refusal(
                    "undefined symbol",
                    format!("{} (the code that registers the patch)", symbol.name),
                    "the kernel does not export it",
                    "leave out the hook that refers to it",
                ));
            }
            continue;
        };
        let Way::Livepatch(by) = &reference.way else { continue };
        let object_name = reference.object.name();
        if object_name.len() > LONGEST.0 || reference.name.len() > LONGEST.1 {
            refusals.push(refusal(
                "a name that is too long",
                format!("{} of {object_name}", reference.name),
                "the kernel reads no such names in live patches",
                "leave out the change that refers to it",
            ));
        }
        symbol.name = format!(".klp.sym.{object_name}.{},{}", reference.name, reference.sympos);
        symbol.place = PlainPlace::Reserved(SHN_LIVEPATCH);
        livepatch.insert(index, by.clone());
    }
    (livepatch, refusals)
}

fn move_relocations(section: &mut PlainSection, livepatch: &HashMap<usize, KernelObject>) {
    let (moved, kept): (Vec<Rela>, Vec<Rela>) =
        section.relocations.iter().partition(|r| livepatch.contains_key(&r.symbol));
    section.relocations = kept;
    let mut objects: Vec<&KernelObject> = moved.iter().filter_map(|r| livepatch.get(&r.symbol)).collect();
    objects.sort();
    objects.dedup();
    for object in objects {
        let of = |r: &&Rela| livepatch.get(&r.symbol) == Some(object);
        section.further.push(FurtherRelocations {
            name: format!("{PREFIX}{}.{}", object.name(), section.name),
            flags: SHF_ALLOC | SHF_INFO_LINK | SHF_RELA_LIVEPATCH,
            relocations: moved.iter().filter(of).copied().collect(),
        });
    }
}

/// Names of sections of livepatch relocations begin with this.
pub(super) const PREFIX: &str = ".klp.rela.";
