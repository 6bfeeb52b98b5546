//! The running kernel and the live patches in it, as `/sys` and `/proc` tell. Nothing here knows of states on
//! disk: whether a patch is in force is read from the kernel each time.

mod debug;
mod hands;
mod look;
mod said;
mod tasks;

pub(crate) use debug::Debug;
pub(crate) use hands::{Hands, RealHands};
pub(crate) use look::{Kernel, Live, LiveObject};
pub(crate) use said::Said;
pub(crate) use tasks::Holder;
