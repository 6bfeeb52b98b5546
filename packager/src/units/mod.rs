//! Which compilation units the fix touches, and their two forms for the comparison.

mod compare;
mod compared;
mod dates;
mod inlined;
mod linked_objects;
mod lto;
mod members;
mod optimised;
pub(crate) mod other_inputs;
mod pair;
mod pairs;
mod renamed;
mod sectioned;
pub(crate) mod stamps;

pub(crate) use compare::{compare, only_debug_differs};
pub(crate) use compared::Compared;
pub use compared::compare_objects;
pub(crate) use linked_objects::{LinkSources, made_of};
pub(crate) use members::added;
pub(crate) use pair::Pair;
pub(crate) use pairs::pair;
pub(crate) use renamed::without_numbers;
pub(crate) use sectioned::section_all;
pub(crate) use stamps::Window;
