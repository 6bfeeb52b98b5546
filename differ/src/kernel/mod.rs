//! What is particular to objects of the kernel and its modules: tables of places in code, sections that its
//! build reads, data that macros make. Rules about them are in `verdict::kernel`.

mod copied;
mod pieces;
mod sections;
mod tables;

pub(crate) use copied::is_copied;
pub(crate) use pieces::{is_companion, padding_before, pieces};
pub(crate) use sections::{has_passed, is_build_time, is_for_end, is_passing, lists_entries, meaning_of};
pub(crate) use tables::{
    ALTERNATIVES, FENTRY, Handling, JUMP_LABELS, TABLES, Table, layout, made_by_objtool,
};
pub use tables::{is_kernel_list, is_kernel_table};
