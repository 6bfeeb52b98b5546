//! Which compilation units the fix touches, and their two forms for the comparison.

mod altered;
mod compare;
mod dates;
mod drawn;
mod leaves;
mod lto;
mod members;
mod optimised;
pub mod others;
mod pairs;
mod renamed;
mod sectioned;
pub mod stamps;

pub use altered::find as find_altered;
pub use compare::{Compared, compare, compare_objects, only_debug_differs};
pub use drawn::{DrawnIn, drawn_in};
pub use leaves::{Leaf, Leaves, Made, made_of};
pub use members::added;
pub use pairs::{Pair, pair};
pub(crate) use renamed::without_numbers;
pub use sectioned::{Sectioned, section_all};
pub use stamps::Window;
