//! Runs a script in a virtual machine on a shipped kernel: the kernel's own image, and a file system in memory that is made for the run.
//!
//! Emulated (TCG), so it needs no rights and no kernel of its own. The *unpacked* `vmlinux` is booted, which takes half the time of
//! `vmlinuz`; without KASLR then.

mod archive;
mod livepatch;
mod machine;

pub use livepatch::{Livepatch, tree};
pub use machine::{Machine, Ran, kernel};
