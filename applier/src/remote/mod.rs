//! Running system calls and functions inside the target, so that it survives our own death at any point.

mod errand;
mod frame;
mod gadgets;
mod room;
mod session;

pub(crate) use errand::{Call, Errand, write_mark};
pub(crate) use gadgets::Gadgets;
pub(crate) use room::Room;
pub(crate) use session::{FUNCTION_ROOM, Session};
