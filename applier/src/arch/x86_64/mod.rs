//! x86-64 (System V psABI, Intel SDM).

pub(crate) mod batch;
pub(crate) mod borrow;
pub(crate) mod calls;
mod facts;
pub(crate) mod frame;
pub(crate) mod gadgets;
pub(crate) mod no_unwind;
pub(crate) mod redirect;
mod registers;
pub(crate) mod rendezvous;
pub(crate) mod saved;
pub(crate) mod stack_switch;
pub(crate) mod thread;
pub(crate) mod traps;
pub(crate) mod unwind;
mod xsave;

pub(crate) use facts::{ARCH, FACTS, RED_ZONE, RELATIVE, SHADOW_STACK};
pub(crate) use registers::Registers;
