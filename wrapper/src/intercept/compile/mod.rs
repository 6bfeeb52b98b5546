//! A compiler driver was called.

pub(crate) mod clang_log;
pub(crate) mod compiler_run;
pub(crate) mod described;
mod run;
pub(crate) mod unit;

pub(crate) use run::run;
