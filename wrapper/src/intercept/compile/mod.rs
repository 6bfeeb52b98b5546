//! A compiler driver was called.

pub(crate) mod clang_log;
pub(crate) mod described;
pub(crate) mod made;
mod run;
pub(crate) mod unit;

pub(crate) use run::run;
