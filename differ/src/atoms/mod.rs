//! A unit as a comparison sees it: *atoms*, which are the smallest pieces that can be compared and shipped
//! alone, and their references.

mod atom;
mod code_or_data;
mod load;
mod references;
mod split;

pub(crate) use atom::{AtomContent, AtomKind, Atoms, Ref, Target};
pub(crate) use load::{load, load_by_place};
