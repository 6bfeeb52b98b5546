//! The dynamic loader of a process, and what it tells debuggers (`struct r_debug` in `<link.h>`).

use super::{linkmap, modules::Module, process::Process, symbols::Symbols};
use crate::ProcessError;

/// The function that the loader calls when its list of modules is about to change and when it has changed.
const DEBUG_FUNCTION: &str = "_dl_debug_state";
/// `r_state` in `<link.h>` when the list of modules is complete, and where it is.
const RT_CONSISTENT: u32 = 0;
pub(crate) const R_STATE: u64 = 24;
const DT_DEBUG: u64 = 21;
/// How often a process is looked at whose memory map changes meanwhile.
const LOOKS: usize = 20;

/// Address of the function that the dynamic loader calls for debuggers.
pub(crate) fn debug_function(process: &Process, loader: &Module) -> Option<u64> {
    Some(Symbols::of(loader, &process.memory)?.find(DEBUG_FUNCTION, None)?.address)
}

/// Is the dynamic loader at work, at the start of the program or in `dlopen`? What it has not relocated yet
/// must not be looked at. A loader that never says what it does is taken to be done. Where it is done, the
/// modules of `process` are those it is done with.
///
/// # Errors
/// As [`Process::open`].
pub(crate) fn is_being_loaded(process: &mut Process) -> Result<bool, ProcessError> {
    for _ in 0..LOOKS {
        let Some(loader) = process.loader() else { return Ok(false) };
        if consistent(process) == Some(false) && debug_function(process, loader).is_some() {
            return Ok(true);
        }
        // The map was read before the loader said so. If it has not changed, that is as good as both at one
        // time.
        if process.catch_up()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does the dynamic loader say that its list of modules is complete (`r_state` in `<link.h>`)? `None` where
/// it says nothing.
pub(crate) fn consistent(process: &Process) -> Option<bool> {
    let program = linkmap::program(process)?;
    let debug = linkmap::dynamic(program, &process.memory).into_iter().find(|(tag, _)| *tag == DT_DEBUG)?.1;
    if debug == 0 {
        return Some(false);
    }
    let state = process.memory.read(debug.checked_add(R_STATE)?, 4).ok()?;
    let map = process.memory.word(debug.checked_add(8)?).ok()?;
    Some(map != 0 && state == RT_CONSISTENT.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    /// A program that was looked at before its loader had mapped the C library, and that had begun when the
    /// loader was asked.
    #[test]
    fn what_the_loader_mapped_meanwhile_is_seen() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut process = Process::open(pid, &Options::default()).unwrap();
        let is_libc = |name: &str| name.rsplit('/').next().unwrap().starts_with("libc.");
        process.maps.retain(|m| !is_libc(&m.name));
        process.modules.retain(|m| !is_libc(&m.path));
        assert!(!is_being_loaded(&mut process).unwrap());
        assert!(process.modules.iter().any(|m| is_libc(&m.path)));
        assert!(process.catch_up().unwrap());
    }
}
