//! Running system calls and functions inside the target, so that it survives our own death at any point.

mod errand;
mod gadgets;
mod sequence;
mod session;

pub(crate) use errand::Errand;
pub(crate) use gadgets::Gadgets;
pub(crate) use session::{FUNCTION_ROOM, Session, has_room};
