//! Calling the real tool, and what is left to do afterwards.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::base::env;
use crate::record::recorder::Recorder;
use crate::sys::child::End;
use crate::tools::names::Tool;
use crate::tools::resolve;

/// What is left to do after a tool's own part.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing (more) to record: become the real tool.
    Exec,
    /// Run the tool with our linker in the place where it would find its own.
    ExecForLinker(PathBuf),
    /// The real tool has run.
    Done(End),
}

/// The real tool, called so that it behaves as if there were no recorder. A compiler driver finds its parts
/// from the directory of its own name, and shows only the last part of that in messages: it gets the real
/// path. Binutils show the whole name in messages: they get the name that they were called by, unless that is
/// the path of our link. gcc finds our assembler and linker on `PATH`; in `COMPILER_PATH`, which is there for
/// clang, it would show in its answers.
pub(crate) fn real_command(real: &Path, tool: Option<Tool>, own_name: &OsStr, bin: Option<&Path>) -> Command {
    let mut command = Command::new(real);
    command.env_remove(env::LINKER);
    let driver = matches!(tool, Some(Tool::Gcc | Tool::Clang));
    if !driver && !Path::new(own_name).is_absolute() {
        command.arg0(own_name);
    }
    if driver {
        // What is recorded here needs no log.
        command.env_remove("CC_PRINT_OPTIONS").env_remove("CC_PRINT_OPTIONS_FILE");
    }
    if let (true, Some(bin)) = (driver && resolve::driver_family(real) == Tool::Gcc, bin) {
        match env::compiler_path(bin) {
            Some(path) => command.env("COMPILER_PATH", path),
            None => command.env_remove("COMPILER_PATH"),
        };
    }
    command
}

/// The real tool for the paths that record: as [`real_command`].
pub(crate) fn recorded_command(recorder: &Recorder, real: &Path, tool: Tool) -> Command {
    let own_name = std::env::args_os().next().unwrap_or_default();
    let mut command = real_command(real, Some(tool), &own_name, Some(&recorder.session.bin_dir()));
    command.args(recorder.argv.iter().map(|word| OsStr::from_bytes(word)));
    command
}
