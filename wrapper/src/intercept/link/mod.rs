//! The linker was called.

pub(crate) mod archive;
pub(crate) mod bitcode;
pub(crate) mod file_kind;
pub(crate) mod inputs;
pub(crate) mod map_files;
mod run;

pub(crate) use run::run;
