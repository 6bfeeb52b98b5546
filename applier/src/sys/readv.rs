#![expect(unsafe_code, reason = "process_vm_readv has no safe interface in std")]
//! process_vm_readv(2): many pieces of another process's memory in one call.

use std::io;

/// Fills each buffer from its address. Gives the number of bytes read; pieces are filled in order, so a short count means
/// that the first piece not filled could not be read.
pub(crate) fn read_pieces(pid: i32, pieces: &mut [(u64, &mut [u8])]) -> io::Result<usize> {
    let mut total = 0;
    for chunk in pieces.chunks_mut(1024) {
        let mut want = 0;
        let mut local = Vec::with_capacity(chunk.len());
        let mut remote = Vec::with_capacity(chunk.len());
        for (address, buffer) in chunk.iter_mut() {
            want += buffer.len();
            local.push(libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
            remote.push(libc::iovec { iov_base: *address as *mut libc::c_void, iov_len: buffer.len() });
        }
        // SAFETY: the kernel writes only to the local pieces, which are borrowed mutably for the call.
        let rc = unsafe {
            libc::process_vm_readv(
                pid,
                local.as_ptr(),
                local.len() as u64,
                remote.as_ptr(),
                remote.len() as u64,
                0,
            )
        };
        let got = usize::try_from(rc).map_err(|_| io::Error::last_os_error())?;
        total += got;
        if got < want {
            break;
        }
    }
    Ok(total)
}
