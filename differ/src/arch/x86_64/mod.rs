//! x86-64.

pub(crate) mod counted;
pub(crate) mod decode;
pub(crate) mod escape;
pub(crate) mod handed;
pub(crate) mod kept;
pub(crate) mod labels;
mod operands;
pub(crate) mod reading;
pub(crate) mod reloc;
