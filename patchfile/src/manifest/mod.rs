//! `manifest.yaml`: what a patch directory holds and what it fits.

pub mod kernel;
mod model;

pub use model::*;
