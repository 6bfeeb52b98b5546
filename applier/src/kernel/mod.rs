//! The running kernel and the live patches in it, as `/sys` and `/proc` tell. Nothing here knows of states on
//! disk: whether a patch is in force is read from the kernel each time.

mod debug;
mod look;
mod messages;
mod ops;
mod tasks;

pub(crate) use debug::Debug;
pub(crate) use look::{Kernel, LivePatch, LivePatchObject};
pub(crate) use messages::KernelMessages;
pub(crate) use ops::{KernelOps, RealKernel};
pub(crate) use tasks::Holder;
