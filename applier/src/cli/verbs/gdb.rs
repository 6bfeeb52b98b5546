//! `gdb`.

use crate::{
    cli::args::Gdb,
    manage::{Context, Error, Inventory},
};
use patchfile::exit::ManageExit;
use std::{os::unix::process::CommandExt, process::Command};

/// Prints the commands with which gdb knows the patched functions of a process, or starts gdb with them.
pub(crate) fn gdb(ctx: &mut Context<'_>, args: &Gdb) -> Result<ManageExit, Error> {
    let pid = args.pid;
    let what = format!("process {pid}");
    super::common::exist(ctx, &[pid])?;
    let inventory = Inventory::read(ctx)?;
    let survey = ctx.backend.survey(&[], &[pid]);
    if survey.unknown().contains(&pid) {
        return Err(Error::new(ManageExit::NotPermitted, what, "may not be looked into")
            .hint("run it as root or as the owner of the process"));
    }
    let blocks = survey.processes.iter().filter(|p| p.key.pid == pid);
    let blocks = blocks.flat_map(|p| p.blocks.as_deref().unwrap_or_default());
    let mut commands = Vec::new();
    for block in blocks {
        let control = &block.control;
        let entry = inventory.catalog.get(control.uuid);
        let elf = entry.and_then(|e| e.manifest.elfs.get(usize::try_from(control.elf).ok()?).zip(Some(e)));
        let Some((elf, entry)) = elf else {
            ctx.warn(format_args!("{}: its files are gone, so its functions have no names", control.name));
            continue;
        };
        let file = entry.directory.join(&elf.patch);
        commands.push(format!("add-symbol-file {} -o {:#x}", quoted(&file.to_string_lossy()), block.address));
    }
    if commands.is_empty() {
        return Err(Error::failed(what, "has no patch whose files are there"));
    }
    if !args.run {
        for command in &commands {
            ctx.say(command)?;
        }
        return Ok(ManageExit::Done);
    }
    let mut gdb = Command::new("gdb");
    // gdb asks whether it may read a symbol file.
    gdb.args(["-p", &pid.to_string(), "-ex", "set confirm off"]);
    for command in &commands {
        gdb.args(["-ex", command]);
    }
    gdb.args(["-ex", "set confirm on"]);
    Err(Error::failed("gdb", gdb.exec()))
}

/// As gdb parts a line into words: by spaces, but for those behind a backslash.
fn quoted(path: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '\\' | '"' | '\'');
    path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
