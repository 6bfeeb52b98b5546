//! The contract between making a live patch and applying it.
//!
//! Everything that `upatch-build` writes and `upatch` reads is described here and only here: the
//! [`manifest`], the patch ELF ([`image`]), the control block that a patch carries inside a running process
//! ([`control`]), the [`state`]s a patch can be in, the [`exit`] codes of both programs, the [`paths`] both
//! agree on, the [`identity`] of ELF files, and what depends on the machine ([`arch`]). Patches for the
//! kernel have a part of their own in the manifest ([`kernel`]).
//!
//! This crate makes no system calls beyond what the caller hands it as bytes, and contains no unsafe code.

pub mod arch;
pub mod build_id;
pub mod control;
pub mod digest;
pub mod exit;
mod hex;
pub mod identity;
pub mod image;
pub mod manifest;
pub mod mapped;
pub mod paths;
pub mod state;
pub mod uuid;

pub use arch::Arch;
pub use build_id::BuildId;
pub use digest::Digest;
pub use manifest::{Manifest, kernel};
pub use uuid::Uuid;
