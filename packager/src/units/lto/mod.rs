//! Programs that were optimised while they were linked (`-flto` of gcc and clang).
//!
//! What the linker took is not what the compiler made of each source file, but a few *pieces* that the
//! optimiser made of the whole program (the recorder keeps what each of them was made from, or the piece
//! itself). They are compiled once more with a section for each function, put together into one object for
//! each side, together with what the debug information says of the source files, and compared as one unit.
//! Functions may move between pieces and get other numbers then; what a symbol is, is told by its source file
//! ([`names`]).
//!
//! The output of a `-r` link in which objcopy has hidden symbols goes the same way: its parts can name each
//! other's symbols, and no other unit can.

mod merge;
mod names;
mod program;

pub(crate) use merge::{Side, by_piece, merge};
pub(crate) use program::{Compiled, Program, Programs};
