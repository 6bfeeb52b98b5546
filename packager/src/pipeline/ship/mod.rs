//! What is shipped.

mod debug;
mod shipped;

pub(super) use shipped::{Shipped, make};
