//! Compiling a recorded unit once more.

pub(crate) mod again;
