//! Many pieces of a process's memory in one call (process_vm_readv(2)).

use nix::{
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};
use std::io::{self, IoSliceMut};

/// Pieces that the kernel takes in one call (`UIO_MAXIOV`).
const MOST: usize = 1024;

/// Fills each buffer from its address. Gives the number of bytes read; pieces are filled in order, so a short
/// count means that the first piece not filled could not be read.
pub(crate) fn read(pid: i32, pieces: &mut [(u64, &mut [u8])]) -> io::Result<usize> {
    let mut total = 0;
    for chunk in pieces.chunks_mut(MOST) {
        let remote = chunk.iter().map(|(address, buffer)| {
            let base = usize::try_from(*address).map_err(io::Error::other)?;
            Ok(RemoteIoVec { base, len: buffer.len() })
        });
        let remote: Vec<_> = remote.collect::<io::Result<_>>()?;
        let wanted: usize = remote.iter().map(|piece| piece.len).sum();
        let mut local: Vec<_> = chunk.iter_mut().map(|(_, buffer)| IoSliceMut::new(buffer)).collect();
        let got = process_vm_readv(Pid::from_raw(pid), &mut local, &remote)?;
        total += got;
        if got < wanted {
            break;
        }
    }
    Ok(total)
}
