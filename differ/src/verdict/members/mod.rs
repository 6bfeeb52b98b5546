//! What members of objects hold: pointers that the old code got in one way must not be treated as the new
//! code treats those that it gets in another way.
//!
//! A fix may change what a member holds and all code that deals with the member at once. The layout stays,
//! and new objects are right. Objects that are older than the patch are not:
//!
//! - The member held a string of a pool, and the old code asked the pool before it freed the string. The new
//!   code puts a copy there, and frees what it finds unasked.
//! - The member held a string of the caller's. The new code puts a copy there, and frees what it finds with
//!   the object.
//! - The member held an object that was not counted. The new code counts it, and takes the count back when it
//!   no longer keeps the object.
//! - The memory behind the member gets larger, and code that uses the memory changes too, with the new size
//!   in mind.
//!
//! So this asks of each changed function of a patch what it begins to do with members and what it no longer
//! does (`changes`), and holds what one function does against what another function does (`conflicts`). Two
//! functions mean the same member where the offset is the same, and both can get at a structure that has a
//! pointer at this offset (`reach`).

mod changes;
mod conflicts;
mod function_use;
mod reach;

pub(crate) use changes::judge;
pub use conflicts::conflicts;
