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
    engine::Hindrance,
    engine::target::code_cave::CodeCave,
    sys::{page, ptrace, sharing, wait::Tracing},
};
use std::{panic, thread, time::Duration};

/// A process and what is known about it.
#[derive(Debug)]
pub(crate) struct Process {
    /// Process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
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
    /// The thread that is held for us.
    pub held: Option<HeldThread>,
    /// Its auxiliary vector.
    pub auxv: Auxv,
    /// See [`Options::wait`].
    pub wait: Duration,
}

/// A thread of a process that the calling OS thread holds already, stopped on its way back to user mode (see
/// [`crate::start`]). It stays held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldThread {
    /// The thread.
    pub tid: i32,
    /// Where it is the only thread, called an empty function of its dynamic loader, and nothing of the
    /// program has run: room for [`crate::engine::remote::SyscallBatch`].
    pub cave: Option<CodeCave>,
}

/// A process whose memory is at hand, before anything in it is looked at.
struct Approach {
    pid: i32,
    view: i32,
    start_time: u64,
    memory: Memory,
    status: Status,
}

impl Approach {
    fn to(pid: i32, options: &Options) -> Result<Self, ProcessError> {
        let stat = status::process(pid)?;
        let start_time = stat.start_time;
        if options.start_time.is_some_and(|t| t != start_time) {
            return Err(ProcessError::Gone);
        }
        let status = status::status(pid)?;
        let view = status::view_of(pid, &stat)?;
        Ok(Self { pid, view, start_time, memory: Memory::open(view)?, status })
    }

    /// Locks the process, so that no other upatch changes it. Tells what keeps us from that.
    fn alone(&self) -> Result<Option<Busy>, ProcessError> {
        let busy = |why: &str| Ok(Some(Busy { tid: self.pid, function: None, why: why.into() }));
        if !self.memory.try_lock()? {
            return busy("is in a process that another upatch is at");
        }
        // Only the threads of one of them would be stopped.
        let parent = self.status.parent;
        if parent > 0 && sharing::same_memory(self.pid, parent) == Some(true) {
            return busy("shares its memory with its parent (in vfork)");
        }
        if self.status.state == b'S' && status::is_frozen(self.view) {
            return busy("is frozen by its control group (a container that is paused)");
        }
        Ok(None)
    }

    fn look(self) -> Result<Process, ProcessError> {
        // First: `execve` writes it when everything is mapped. Read after the memory map, it would not tell
        // that the map was half made.
        let auxv = auxv::read(self.view);
        let maps = maps::read(self.view)?;
        if maps.is_empty() {
            return Err(ProcessError::NotMapped);
        }
        let auxv = auxv?;
        let modules = modules::list(&maps, &self.memory);
        Ok(self.seen(maps, modules, auxv))
    }

    fn seen(self, maps: Vec<Mapping>, modules: Vec<Module>, auxv: Auxv) -> Process {
        let Self { pid, view, start_time, memory, status } = self;
        Process {
            pid,
            view,
            start_time,
            memory,
            maps,
            modules,
            status,
            held: None,
            auxv,
            wait: Duration::ZERO,
        }
    }
}

impl Process {
    /// Looks at a process, reads only.
    ///
    /// # Errors
    /// [`ProcessError::Gone`], [`ProcessError::Zombie`], [`ProcessError::NotPermitted`];
    /// [`ProcessError::NotMapped`] for one without memory of its own.
    pub(crate) fn open(pid: i32, options: &Options) -> Result<Self, ProcessError> {
        Approach::to(pid, options)?.look()
    }

    /// Looks at a process in order to change it. Nobody else of us changes it as long as the value lives:
    /// what was seen stays true but for what the process itself does.
    ///
    /// # Errors
    /// As [`Process::open`].
    pub(crate) fn open_alone(pid: i32, options: &Options) -> Result<Self, Hindrance> {
        let approach = Approach::to(pid, options)?;
        if let Some(busy) = approach.alone()? {
            return Err(busy.into());
        }
        Ok(Self { wait: options.wait, ..approach.look()? })
    }

    /// A process whose only thread has just executed a program and has not run any of it. Its memory map is
    /// read by [`Process::look_again`] when that is done; until then its modules are the program and its
    /// dynamic loader, and its start time is not known. Tells whether it is ours alone, as with
    /// [`Process::open_alone`].
    ///
    /// # Errors
    /// As [`Process::open`].
    pub(crate) fn begin(pid: i32) -> Result<(Self, bool), ProcessError> {
        let (status, memory) = (status::status(pid)?, Memory::open(pid)?);
        // Its memory is its own, whoever its parent is.
        let alone = memory.try_lock()?;
        let approach = Approach { pid, view: pid, start_time: 0, memory, status };
        let auxv = auxv::read(pid)?;
        let starts = [page::floor(auxv.headers), auxv.loader].into_iter().filter(|at| *at != 0);
        let modules = starts.filter_map(|at| modules::by_header(at, &approach.memory)).collect();
        Ok((approach.seen(Vec::new(), modules, auxv), alone))
    }

    /// Looks at it again.
    ///
    /// # Errors
    /// As [`Process::open`].
    pub(crate) fn look_again(&mut self) -> Result<(), ProcessError> {
        self.refresh()?;
        self.list_again();
        Ok(())
    }

    fn list_again(&mut self) {
        self.memory.forget();
        self.modules = modules::list(&self.maps, &self.memory);
    }

    /// Reads the memory map again, and looks at all again if what it maps of files with code has changed.
    /// Tells whether that was as before.
    ///
    /// # Errors
    /// As [`Process::open`].
    pub(crate) fn catch_up(&mut self) -> Result<bool, ProcessError> {
        let now = maps::read(self.view)?;
        let same = maps::with_code(&now) == maps::with_code(&self.maps);
        self.maps = now;
        if !same {
            self.list_again();
        }
        Ok(same)
    }

    /// Has nothing of the program run, and is the thread that is held the only one?
    pub(crate) fn begins(&self) -> bool {
        self.held.is_some_and(|h| h.cave.is_some())
    }

    /// Does the calling thread hold this thread?
    pub(crate) fn holds(&self, tid: i32) -> bool {
        self.held.is_some_and(|h| h.tid == tid)
    }

    /// With thread `tid` stopped: is the memory of its process still the one that was looked at? It may have
    /// executed another program just before it stopped, and the old memory may live on with its parent.
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

    /// The same without a stopped thread, for what came of a look at it: an error that was found while the
    /// process executed another program says nothing of either.
    pub(crate) fn blame(&self, error: ProcessError) -> ProcessError {
        let seen = self.memory.word(self.auxv.random);
        let other = |word| Memory::open(self.view).is_ok_and(|m| m.word(self.auxv.random).ok() != Some(word));
        let replaced = match seen {
            Ok(word) => other(word),
            Err(error) => matches!(error, ProcessError::NotMapped),
        };
        if replaced { ProcessError::NotMapped } else { error }
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

/// Runs `work`, which is about process `pid`, on an OS thread of its own. When that thread ends, however it
/// ends, the kernel lets go of everything it still traces.
///
/// # Errors
/// What `work` gives, but [`ProcessError::Gone`] or [`ProcessError::Zombie`] for whatever goes wrong in a
/// process that is ending; a panic inside `work` goes on in the caller once the tracing thread has ended.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn what_was_found_while_another_program_began_is_no_error() {
        let mut child =
            Command::new("sh").args(["-c", "read x; exec cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // A process that executes a program has the new name before it has the new memory.
        let process = loop {
            match Process::open(pid, &Options::default()) {
                Ok(process) if process.status.name == "sh" => break process,
                _ => thread::yield_now(),
            }
        };
        let unfit = || ProcessError::unfit("");
        let before = process.blame(unfit());
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
        while status::status(pid).unwrap().name != "cat" {
            thread::yield_now();
        }
        let after = process.blame(unfit());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(matches!(before, ProcessError::Unfit { .. }), "{before}");
        assert!(matches!(after, ProcessError::NotMapped), "{after}");
    }
}
