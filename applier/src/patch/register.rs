//! Telling the target's own unwinder about new code, so that C++ exceptions and thread cancellation pass through it.

use super::Steps;
use crate::{
    Located, ProcessError, load,
    remote::{FUNCTION_ROOM, Gadgets, Session},
    target::{modules::Module, process::Process, symbols::Symbols, threads::StoppedThreads},
};

/// The target's registration function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registrar {
    function: u64,
}

impl Registrar {
    /// Finds `__register_frame_info`, normally in libgcc_s; with the module it is in. `None` where the process has no
    /// unwinder, and so nothing to tell.
    pub(crate) fn find(process: &Process) -> Option<(Self, &Module)> {
        let find = |m: &Module| Symbols::of(m, &process.memory)?.find("__register_frame_info", None);
        process.modules.iter().find_map(|m| Some((Self { function: find(m)?.address }, m)))
    }

    /// Registers an image's `.eh_frame`. All threads are stopped, none is inside the unwinder.
    ///
    /// # Errors
    /// When no thread can make the call, or it does not come back.
    pub(crate) fn register(
        self,
        process: &Process,
        held: &StoppedThreads,
        image: &mut Located,
        steps: &Steps,
    ) -> Result<(), ProcessError> {
        let gadgets = Gadgets::find(process)?;
        let size = image.control.size;
        let (landing, object) = (image.address + load::landing(size), image.address + load::object(size));
        let eh_frame = image.address + u64::from(image.control.eh_frame);
        for thread in held.threads() {
            steps.next("take a thread over")?;
            let Some(mut session) = Session::begin(process, thread, gadgets, FUNCTION_ROOM, steps)? else {
                continue;
            };
            // Noted first: registering twice would be worse than not at all.
            steps.next("note the registration")?;
            process.memory.write(image.address + 72, &eh_frame.to_le_bytes())?;
            let called = session.call_function(self.function, [eh_frame, object, 0], landing);
            session.end()?;
            called?;
            image.control.registered = eh_frame;
            return Ok(());
        }
        Err(ProcessError::unfit("no thread has enough room on its stack to call a function"))
    }
}
