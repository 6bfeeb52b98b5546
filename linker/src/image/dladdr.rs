//! `dladdr` for something that the patch adds: the image is no module of which it knows.

use std::collections::HashMap;

use differ::{Refusal, Relocation};

use crate::arch::{Machine, Site};
use crate::chunks::{Chunks, Place, Resolved};

/// Functions that look for the address in their first argument among the modules.
const ASKING: [&str; 2] = ["dladdr", "dladdr1"];

/// New things that a section's code has formed the address of: name by the offset of the field.
pub(crate) type Formed = HashMap<u64, String>;

/// Notes what a relocation stands for; refuses where it is a call with the address of something new as first
/// argument.
pub(crate) fn look(
    machine: &dyn Machine,
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    formed: &mut Formed,
    chunks: &Chunks,
) -> Result<(), Refusal> {
    let code = chunks.code(site.chunk);
    if !ASKING.contains(&symbol.name.as_str()) {
        if matches!(symbol.address, Place::Chunk { .. }) && machine.forms_address(code, reloc) {
            formed.insert(reloc.offset, symbol.name.clone());
        }
        return Ok(());
    }
    if !machine.is_branch(code, reloc.offset) {
        return Ok(());
    }
    match machine.first_argument(code, reloc.offset).and_then(|field| formed.get(&field)) {
        None => Ok(()),
        Some(what) => Err(site.refuse(
            "module of something that is new",
            reloc,
            format!("`{}` asks for the module of {what}, which the patch adds: it is in none", symbol.name),
            "ask for a function or variable of the file that was there before",
        )),
    }
}
