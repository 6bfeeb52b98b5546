//! What depends on the instruction set.

mod relocations;
pub mod x86_64;

pub use relocations::{Computes, Range, Relaxation, RelocationType, Rewrites, StandsIn, Tls};

/// What is known of a relocation type of a machine (`e_machine`); `None` for a type or a machine that this version does not know.
pub fn relocation_type(machine: u16, number: u32) -> Option<&'static RelocationType> {
    match machine {
        x86_64::MACHINE => relocations::find(&x86_64::relocations::TYPES, number),
        _ => None,
    }
}

/// Name of a relocation type as in the machine's psABI, for messages.
pub fn relocation_name(machine: u16, number: u32) -> String {
    relocation_type(machine, number)
        .map_or_else(|| format!("relocation type {number}"), |t| t.name.to_owned())
}
