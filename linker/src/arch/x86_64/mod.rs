//! x86-64.

pub(crate) mod reloc_types;
