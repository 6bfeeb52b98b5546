//! Command lines, taken apart: of compiler drivers, assemblers, linkers, objcopy and strip.

pub(crate) mod assembler;
pub(crate) mod clang_pass;
pub(crate) mod copier;
pub(crate) mod driver;
pub(crate) mod flags;
pub(crate) mod linker;
pub(crate) mod prefix;
pub(crate) mod response;
