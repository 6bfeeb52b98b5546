//! What tests need `unsafe` for.

pub mod inject;
