//! A process that is being looked at.

use super::{
    frames::Tables,
    maps::{self, Mapping},
    memory::Memory,
    modules::{self, Module},
    status::{self, Status},
};
use crate::{Options, ProcessError};
use std::{panic, thread};

/// A process and what is known about it.
#[derive(Debug)]
pub(crate) struct Process {
    /// Process id.
    pub pid: i32,
    /// Its memory.
    pub memory: Memory,
    /// Its memory map when it was opened.
    pub maps: Vec<Mapping>,
    /// Its modules.
    pub modules: Vec<Module>,
    /// Its status.
    pub status: Status,
}

impl Process {
    /// Looks at a process, reads only.
    ///
    /// # Errors
    /// [`ProcessError::Gone`], [`ProcessError::Zombie`], [`ProcessError::NotPermitted`].
    pub(crate) fn open(pid: i32, options: &Options) -> Result<Self, ProcessError> {
        let stat = status::process(pid)?;
        if options.start_time.is_some_and(|t| t != stat.start_time) {
            return Err(ProcessError::Gone);
        }
        let status = status::status(pid)?;
        let memory = Memory::open(pid)?;
        let maps = maps::read(pid)?;
        if maps.is_empty() {
            return Err(if stat.state == b'Z' && status::threads(pid)?.len() <= 1 {
                ProcessError::Zombie
            } else {
                ProcessError::unfit("it has no memory of its own (a kernel thread, or it is ending)")
            });
        }
        let modules = modules::list(&maps, &memory);
        Ok(Self { pid, memory, maps, modules, status })
    }

    /// Reads the memory map again.
    pub(crate) fn refresh(&mut self) -> Result<(), ProcessError> {
        self.maps = maps::read(self.pid)?;
        Ok(())
    }

    /// The error for a process that has no thread left to stop.
    pub(crate) fn ended(&self) -> ProcessError {
        match status::process(self.pid) {
            Ok(stat) if stat.state == b'Z' => ProcessError::Zombie,
            _ => ProcessError::Gone,
        }
    }

    /// Unwind tables of all modules.
    pub(crate) fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        for module in &self.modules {
            tables.add_module(module, &self.memory, self.pid, &self.maps);
        }
        tables
    }
}

/// Runs `work` on an OS thread of its own. When that thread ends, however it ends, the kernel lets go of everything it
/// still traces.
///
/// # Errors
/// What `work` gives; a panic inside it goes on in the caller once the tracing thread has ended.
pub(crate) fn on_own_thread<T: Send>(
    work: impl FnOnce() -> Result<T, ProcessError> + Send,
) -> Result<T, ProcessError> {
    thread::scope(|scope| {
        let handle = thread::Builder::new().name("upatch-tracer".into()).spawn_scoped(scope, work);
        match handle.map_err(ProcessError::os("cannot start a thread"))?.join() {
            Ok(result) => result,
            Err(payload) => panic::resume_unwind(payload),
        }
    })
}
