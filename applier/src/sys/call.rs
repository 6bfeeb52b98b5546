//! System calls that another process is to make.

use std::io;

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SystemCall {
    /// Its number.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
    /// An argument that is the result of an earlier call of the same batch, whatever stands in `args`: the
    /// number of that call, and the index of the argument.
    pub from_result: Option<(usize, usize)>,
}

impl SystemCall {
    pub(crate) fn new(number: i64, args: [u64; 6]) -> Self {
        Self { number, args, from_result: None }
    }

    /// This call with the result of call number `call` of the same batch for argument `index`.
    pub(crate) fn with_result(self, call: usize, index: usize) -> Self {
        Self { from_result: Some((call, index)), ..self }
    }

    /// Must its result be its first argument? An `mmap` that maps elsewhere than where it should counts as
    /// failed: kernels before 4.17 do not know `MAP_FIXED_NOREPLACE` and take the address for a hint.
    pub(crate) fn gives_first_argument(&self) -> bool {
        self.number == libc::SYS_mmap
    }

    /// What it means that the kernel has returned `returned`.
    ///
    /// # Errors
    /// What the call has failed with; `EEXIST` for an `mmap` elsewhere.
    pub(crate) fn result(&self, returned: u64) -> io::Result<u64> {
        let result = result_of(returned)?;
        if self.gives_first_argument() && result != self.args[0] {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        Ok(result)
    }
}

/// What a system call has returned, as Rust has it (syscall(2)).
pub(crate) fn result_of(returned: u64) -> io::Result<u64> {
    match returned.cast_signed() {
        error @ -4095..=-1 => Err(io::Error::from_raw_os_error(i32::try_from(-error).unwrap_or(libc::EIO))),
        _ => Ok(returned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_elsewhere_has_failed() {
        let call = |number| SystemCall::new(number, [0x1000, 0, 0, 0, 0, 0]);
        let failed = |number, result: i64| call(number).result(result.cast_unsigned()).err()?.raw_os_error();
        assert_eq!(failed(libc::SYS_mmap, 0x1000), None);
        assert_eq!(failed(libc::SYS_mmap, 0x2000), Some(libc::EEXIST));
        assert_eq!(failed(libc::SYS_mmap, -12), Some(libc::ENOMEM));
        assert_eq!(failed(libc::SYS_close, 0), None);
    }
}
