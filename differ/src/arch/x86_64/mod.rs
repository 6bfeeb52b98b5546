//! x86-64.

pub(crate) mod counted;
pub(crate) mod decode;
pub(crate) mod escape;
pub(crate) mod handed;
pub(crate) mod kept;
pub(crate) mod labels;
mod operands;
pub(crate) mod reading;
pub mod relocations;

/// `EM_X86_64`.
pub const MACHINE: u16 = 62;

use super::relocations::{RelocationType, StandsIn, find};

/// A type that may stand in an object to compare.
pub(crate) fn in_object(number: u32) -> Option<&'static RelocationType> {
    let supported = |t: &&RelocationType| matches!(t.stands_in, StandsIn::Objects | StandsIn::Both);
    find(&relocations::TYPES, number).filter(supported)
}

/// Do two types ask for the same thing?
pub(crate) fn same_reference(a: u32, b: u32) -> bool {
    let plain = |number: u32| in_object(number).map_or(number, |t| t.same_as);
    plain(a) == plain(b)
}
