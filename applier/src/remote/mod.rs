//! Running system calls and functions inside the target, so that it survives our own death at any point.

mod frame;
mod gadgets;
mod session;

pub(crate) use gadgets::Gadgets;
pub(crate) use session::{FUNCTION_ROOM, Session};
