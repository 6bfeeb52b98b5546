//! The assembler was called.

pub(crate) mod ltrans;
mod run;

pub(crate) use run::run;
