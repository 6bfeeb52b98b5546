//! Running system calls and functions inside the target, so that it survives our own death at any point.

mod errand;
mod frame;
mod gadgets;
mod sequence;
mod session;

pub(crate) use errand::{Call, Errand, write_mark};
pub(crate) use gadgets::Gadgets;
pub(crate) use session::{FUNCTION_ROOM, Session, has_room};

/// What a system call has returned in `rax`, as Rust has it (syscall(2)).
fn result_of(rax: u64) -> std::io::Result<u64> {
    match rax.cast_signed() {
        error @ -4095..=-1 => Err(std::io::Error::from_raw_os_error(i32::try_from(-error).unwrap_or(0))),
        _ => Ok(rax),
    }
}
