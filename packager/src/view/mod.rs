//! Building where it was built: programs hold the path of their build, so only a build at the same path can
//! be identical.

mod enter;
mod namespace;
mod paths;
mod search;

pub(crate) use enter::{View, outside_name};
