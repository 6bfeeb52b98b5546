//! Which compilation units the fix touches, and their two forms for the comparison.

mod compare;
mod dates;
mod drawn;
mod leaves;
mod lto;
mod members;
mod optimised;
pub mod others;
mod pairs;
mod sectioned;
pub mod stamps;

pub use compare::{Compared, compare, compare_objects, only_debug_differs};
pub use drawn::{DrawnIn, drawn_in};
pub use leaves::{Leaf, Leaves, kept_objects};
pub use members::added;
pub(crate) use pairs::without_numbers;
pub use pairs::{Pair, pair};
pub use sectioned::{Sectioned, section_all};
pub use stamps::Window;
