//! A process that is being looked at.

use super::{
    auxv::{self, Auxv},
    frames::Tables,
    maps::{self, Mapping},
    memory::Memory,
    modules::{self, Module},
    status::{self, Status},
};
use crate::{
    Busy, Options, ProcessError,
    sys::{ptrace, sharing, wait::Tracing},
};
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
    /// Its auxiliary vector.
    pub auxv: Auxv,
}

/// A process whose memory is at hand, before anything in it is looked at.
struct Approach {
    pid: i32,
    view: i32,
    memory: Memory,
    status: Status,
}

impl Approach {
    fn to(pid: i32, options: &Options) -> Result<Self, ProcessError> {
        let stat = status::process(pid)?;
        if options.start_time.is_some_and(|t| t != stat.start_time) {
            return Err(ProcessError::Gone);
        }
        let status = status::status(pid)?;
        let view = status::view_of(pid, &stat)?;
        Ok(Self { pid, view, memory: Memory::open(view)?, status })
    }

    fn look(self, options: &Options) -> Result<Process, ProcessError> {
        let Self { pid, view, memory, status } = self;
        let maps = maps::read(view)?;
        if maps.is_empty() {
            return Err(ProcessError::NotMapped);
        }
        let auxv = auxv::read(view)?;
        let modules = modules::list(&maps, &memory);
        Ok(Process { pid, view, memory, maps, modules, status, held: options.held, auxv })
    }
}

impl Process {
    /// Looks at a process, reads only.
    ///
    /// # Errors
    /// [`ProcessError::Gone`], [`ProcessError::Zombie`], [`ProcessError::NotPermitted`]; [`ProcessError::NotMapped`] for one without
    /// memory of its own.
    pub(crate) fn open(pid: i32, options: &Options) -> Result<Self, ProcessError> {
        Approach::to(pid, options)?.look(options)
    }

    /// Looks at a process in order to change it. Nobody else of us changes it as long as the value lives: what was seen stays true
    /// but for what the process itself does.
    ///
    /// # Errors
    /// As [`Process::open`].
    pub(crate) fn open_alone(pid: i32, options: &Options) -> Result<Result<Self, Busy>, ProcessError> {
        let approach = Approach::to(pid, options)?;
        let busy = |why: &str| Ok(Err(Busy { tid: pid, function: None, why: why.into() }));
        if !approach.memory.try_lock()? {
            return busy("is in a process that another upatch is at");
        }
        // Only the threads of one of them would be stopped.
        let parent = approach.status.parent;
        if parent > 0 && sharing::same_memory(pid, parent) == Some(true) {
            return busy("shares its memory with its parent (in vfork)");
        }
        approach.look(options).map(Ok)
    }

    /// With thread `tid` stopped: is the memory of its process still the one that was looked at? It may have executed another program just
    /// before it stopped, and the old memory may live on with its parent.
    ///
    /// # Errors
    /// [`ProcessError::NotMapped`] if not.
    pub(crate) fn is_as_seen(&self, tid: i32) -> Result<(), ProcessError> {
        let now = ptrace::word(tid, self.auxv.random).ok();
        if now.is_some() && now == self.memory.word(self.auxv.random).ok() {
            return Ok(());
        }
        Err(ProcessError::NotMapped)
    }

    /// Its dynamic loader, if it has one.
    pub(crate) fn loader(&self) -> Option<&Module> {
        self.modules.iter().find(|m| m.start == self.auxv.loader)
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
