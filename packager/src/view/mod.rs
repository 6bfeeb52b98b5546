//! Building where it was built: programs hold the path of their build, so only a build at the same path can be identical.

mod namespace;
mod paths;
mod search;
mod view;

pub(crate) use view::{View, outside_name};
