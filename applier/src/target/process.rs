//! A process that is being looked at.

use super::{
    frames::Tables,
    maps::{self, Mapping},
    memory::Memory,
    modules::{self, Module},
    status::{self, Status},
};
use crate::{Options, ProcessError, sys::wait::Tracing};
use std::{panic, thread};

/// A process and what is known about it.
#[derive(Debug)]
pub(crate) struct Process {
    /// Process id.
    pub pid: i32,
    /// The thread through which `/proc` shows its memory, see [`status::view`].
    pub view: i32,
    /// Its memory.
    pub memory: Memory,
    /// Its memory map when it was opened.
    pub maps: Vec<Mapping>,
    /// Its modules.
    pub modules: Vec<Module>,
    /// Its status.
    pub status: Status,
    /// See [`Options::held`].
    pub held: Option<i32>,
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
        let view = status::view_of(pid, &stat)?;
        let memory = Memory::open(view)?;
        let maps = maps::read(view)?;
        if maps.is_empty() {
            return Err(ProcessError::unfit(
                "it has no memory of its own (a kernel thread, or it is ending)",
            ));
        }
        let modules = modules::list(&maps, &memory);
        Ok(Self { pid, view, memory, maps, modules, status, held: options.held })
    }

    /// Reads the memory map again.
    pub(crate) fn refresh(&mut self) -> Result<(), ProcessError> {
        self.maps = maps::read(self.view)?;
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
            tables.add_module(module, &self.memory, self.view, &self.maps);
        }
        tables
    }
}

/// Runs `work`, which is about process `pid`, on an OS thread of its own. When that thread ends, however it ends, the kernel
/// lets go of everything it still traces.
///
/// # Errors
/// What `work` gives, but [`ProcessError::Gone`] or [`ProcessError::Zombie`] for whatever goes wrong in a process that is
/// ending; a panic inside `work` goes on in the caller once the tracing thread has ended.
pub(crate) fn on_own_thread<T: Send>(
    pid: i32,
    work: impl FnOnce() -> Result<T, ProcessError> + Send,
) -> Result<T, ProcessError> {
    thread::scope(|scope| {
        let traced = || {
            let _tracing = Tracing::begin();
            work()
        };
        let handle = thread::Builder::new().name("upatch-tracer".into()).spawn_scoped(scope, traced);
        match handle.map_err(ProcessError::os("cannot start a thread"))?.join() {
            Ok(result) => result.map_err(|error| status::ending(pid).unwrap_or(error)),
            Err(payload) => panic::resume_unwind(payload),
        }
    })
}
