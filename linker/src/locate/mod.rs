//! Where each symbol of the original program is in the target, and in the file that was linked before it.

mod alike;
pub(crate) mod command_line;
pub(crate) mod linked;
pub(crate) mod map;
pub(crate) mod mask;
pub(crate) mod object;
pub(crate) mod original;
mod same_code;
pub(crate) mod translate;
pub(crate) mod unit;

pub use alike::functions_alike;
pub use map::{contributing, names_of};
pub use original::{ObjectSymbol, OptimisedUnit, OriginalUnit};
pub use translate::{LinkedSymbol, SameLayout, TargetAddresses, Used, UsedAddresses, addresses};
