//! Placing an image in the target and filling in its relocations.

mod inject;
mod layout;
mod place;
mod relocate;
mod resolve;
mod send;
mod text;

pub(crate) use inject::{Pending, Remains, Wanted, has_control_room, load, rehearse, trace_options};
pub(crate) use layout::{Layout, offsets};
pub(crate) use place::find_gap;
pub(crate) use resolve::{Resolved, Sibling, resolve, sibling_fields};
pub(crate) use text::Text;
