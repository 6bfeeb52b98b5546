//! Running system calls and functions inside the target, so that it survives our own death at any point.

mod borrowed_thread;
mod gadgets;
mod sequence;
mod syscall_batch;

pub(crate) use borrowed_thread::{BorrowedThread, FUNCTION_ROOM, has_room};
pub(crate) use gadgets::Gadgets;
pub(crate) use syscall_batch::SyscallBatch;
