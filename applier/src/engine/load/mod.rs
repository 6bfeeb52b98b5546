//! Placing an image in the target and filling in its relocations.

mod code_pages;
mod inject;
mod layout;
mod place;
mod relocate;
mod resolve;
mod send;

pub(crate) use code_pages::CodePages;
pub(crate) use inject::{
    Leftovers, LoadRequest, PendingImage, has_control_room, load, rehearse, trace_options,
};
pub(crate) use layout::{Layout, offsets};
pub(crate) use place::find_gap;
pub(crate) use resolve::{Resolved, Sibling, resolve, sibling_fields};
