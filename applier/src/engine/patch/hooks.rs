//! Functions of a patch that are called when it comes into force and when it goes out of it.
//!
//! They run on one thread of the process while all are stopped, so they see what no thread is in the middle
//! of changing only where the patch's own functions are concerned: of everything else they must expect any
//! state, like a signal handler.

use crate::{
    Located, ProcessError,
    engine::{
        load,
        remote::{BorrowedThread, Gadgets},
        target::{frames::Tables, process::Process, steps::Steps, threads::StoppedThreads},
    },
};
use patchfile::{
    image::{Hook, HookPoint},
    mapped::{HOOK_TABLE, decode_hooks},
};

/// Stack that hooks may use, in bytes (promised in `upatch.h`).
const ROOM: u64 = 32 * 1024;

/// Calls the hooks of one point, of the images with these indices.
///
/// # Errors
/// [`ProcessError::HookRefused`] when one does not return 0; [`ProcessError::HookFailed`] when one crashes or
/// does not come back in time. The thread has its registers back in each case; what the hook did up to there
/// stays.
pub(super) fn call(
    process: &Process,
    held: &StoppedThreads,
    tables: &mut Tables,
    images: &[Located],
    which: &[usize],
    when: HookPoint,
    steps: &Steps,
) -> Result<(), ProcessError> {
    for image in which.iter().filter_map(|i| images.get(*i)) {
        for address in addresses(process, image, when)? {
            let code = call_one(process, held, tables, image, address, steps)?;
            if code != 0 {
                return Err(ProcessError::HookRefused { code });
            }
        }
    }
    Ok(())
}

/// Stack that the hooks of these images want, of one thread; 0 where they have none.
///
/// # Errors
/// Their tables cannot be read.
pub(super) fn room(process: &Process, images: &[Located], which: &[usize]) -> Result<u64, ProcessError> {
    for image in which.iter().filter_map(|i| images.get(*i)) {
        if !table(process, image)?.is_empty() {
            return Ok(ROOM);
        }
    }
    Ok(0)
}

/// Run-time addresses of an image's hooks, from its own memory: the patch's file may be gone by now.
fn addresses(process: &Process, image: &Located, when: HookPoint) -> Result<Vec<u64>, ProcessError> {
    let own = table(process, image)?.into_iter().filter(|h| h.when == when && h.address < image.control.size);
    Ok(own.map(|h| image.address.wrapping_add(h.address)).collect())
}

fn table(process: &Process, image: &Located) -> Result<Vec<Hook>, ProcessError> {
    let at = image.address.wrapping_add(load::offsets(image.control.size).hooks());
    Ok(decode_hooks(&process.memory.read(at, HOOK_TABLE)?))
}

fn call_one(
    process: &Process,
    held: &StoppedThreads,
    tables: &mut Tables,
    image: &Located,
    address: u64,
    steps: &Steps,
) -> Result<i64, ProcessError> {
    let gadgets = Gadgets::find(process)?;
    let landing = image.address.wrapping_add(load::offsets(image.control.size).landing());
    for thread in held.threads() {
        steps.next("take a thread over for a hook")?;
        let Some(mut borrowed) = BorrowedThread::begin(process, thread, tables, gadgets, ROOM, steps)? else {
            continue;
        };
        let called = borrowed.call_function(address, [0; 3], landing);
        borrowed.end()?;
        // Hooks return `int`: the upper half of the register is not theirs.
        return match called {
            Ok(code) => Ok(i64::from(code as u32 as i32)),
            Err(ProcessError::Unfit { why }) => Err(ProcessError::HookFailed { why }),
            Err(error) => Err(error),
        };
    }
    Err(ProcessError::unfit("no thread has enough room on its stack to call a hook of the patch"))
}
