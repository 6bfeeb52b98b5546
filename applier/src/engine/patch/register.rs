//! Telling the target's own unwinder about new code, so that C++ exceptions and thread cancellation pass
//! through it.

use super::quiesce::{Zone, ZoneRule};
use crate::{
    Located, ProcessError,
    engine::{
        load,
        remote::{BorrowedThread, FUNCTION_ROOM, Gadgets},
        target::{
            frames::Tables, identity, linkmap, modules::Module, process::Process, steps::Steps, symbols,
            threads::StoppedThreads,
        },
    },
};
use patchfile::control;

/// The target's registration function.
#[derive(Clone, Debug)]
pub(crate) struct Registrar {
    function: u64,
    /// Code that no thread may be in during the call: it takes locks, and from gcc 13 on it allocates memory.
    pub zones: Vec<Zone>,
}

const REGISTER: &str = "__register_frame_info";

impl Registrar {
    /// Finds `__register_frame_info`, normally in libgcc_s. `None` where the process has no unwinder, and so
    /// nothing to tell.
    ///
    /// # Errors
    /// [`ProcessError::Unfit`] for a static program without symbols: whether it has an unwinder cannot be
    /// known.
    pub(crate) fn find(process: &Process) -> Result<Option<Self>, ProcessError> {
        let zone = |module: &Module, rule| Zone {
            start: module.start,
            end: module.end,
            rule,
            entries: Vec::new(),
            name: format!("{}, which telling the unwinder needs", module.name()),
        };
        let order = linkmap::search_order(process);
        let find = |name: &str| symbols::first_of(&order, name, &process.memory);
        if let Some((module, found)) = find(REGISTER) {
            let allocators = ["malloc", "pthread_mutex_lock"].into_iter().filter_map(find);
            let mut zones = vec![zone(module, ZoneRule::Function)];
            zones.extend(allocators.map(|(m, _)| zone(m, ZoneRule::Running)));
            return Ok(Some(Self { function: found.address, zones }));
        }
        let [program] = order[..] else { return Ok(None) };
        let file = identity::open_file(program, process.view, &process.maps);
        match file.and_then(|f| identity::symbol(&f, REGISTER)) {
            Some(Some(link)) => {
                let zones = vec![zone(program, ZoneRule::Running)];
                Ok(Some(Self { function: program.bias.wrapping_add(link), zones }))
            }
            Some(None) => Ok(None),
            None => {
                Err(ProcessError::unfit("a static program without symbols: its unwinder cannot be found"))
            }
        }
    }

    /// Registers an image's `.eh_frame`. All threads are stopped, none is inside the unwinder.
    ///
    /// # Errors
    /// When no thread can make the call, or it does not come back.
    pub(crate) fn register(
        &self,
        process: &Process,
        held: &StoppedThreads,
        tables: &mut Tables,
        image: &mut Located,
        steps: &Steps,
    ) -> Result<(), ProcessError> {
        let gadgets = Gadgets::find(process)?;
        let offsets = load::offsets(image.control.size);
        let (landing, object) = (
            image.address.wrapping_add(offsets.landing()),
            image.address.wrapping_add(offsets.unwinder_object()),
        );
        let eh_frame = image.address + u64::from(image.control.eh_frame);
        for thread in held.threads() {
            steps.next("take a thread over")?;
            let Some(mut borrowed) =
                BorrowedThread::begin(process, thread, tables, gadgets, FUNCTION_ROOM, steps)?
            else {
                continue;
            };
            // Noted first: registering twice would be worse than not at all.
            steps.next("note the registration")?;
            process.memory.write(image.address + control::REGISTERED, &eh_frame.to_le_bytes())?;
            let called = borrowed.call_function(self.function, [eh_frame, object, 0], landing);
            borrowed.end()?;
            called?;
            image.control.registered = eh_frame;
            return Ok(());
        }
        Err(ProcessError::unfit("no thread has enough room on its stack to call a function"))
    }
}
