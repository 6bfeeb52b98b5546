//! The module: the parts and the code that registers them, linked by the kernel's own build.
//!
//! Kbuild's objtool and modpost see ordinary undefined symbols; they become livepatch relocations afterwards.
//! objtool makes its tables of the parts, with the flags that Kbuild has for their units. It is never told to
//! prepare calls of the tracer (`--mcount`): where the compiler records them, that would turn them into
//! something that the kernel does not find, and its tracer would switch itself off.

use super::source::run;
use super::tree::PreparedTree;
use super::units::Unit;
use crate::error::{Context, KernelError, Result};
use crate::process::{Log, Tool};
use crate::scratch::Work;
use linker::Parts;
use patchfile::exit::BuildExit;
use std::path::Path;

/// What is linked: the name of the module, and the text of `hook.c`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources<'a> {
    /// The module's name.
    pub(super) name: &'a str,
    /// The code that registers the patch.
    pub(super) hook: &'a str,
}

/// Has Kbuild link them; gives the module before it is finished.
///
/// # Errors
/// When Kbuild or objtool fails.
pub(super) fn link(
    sources: Sources<'_>,
    parts: &Parts,
    units: &[Unit],
    tree: &PreparedTree,
    work: &Work,
) -> Result<Vec<u8>> {
    let dir = work.path("module");
    if dir.exists() {
        std::fs::remove_dir_all(&dir).at(&dir)?;
    }
    std::fs::create_dir(&dir).at(&dir)?;
    let mut log = Log::create(&work.path("log").join("kernel-module.log"))?;
    let write = |name: &str, data: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, data).writing(&path)
    };
    let mut objects = vec!["hook.o".to_owned()];
    for (number, part) in parts.objects.iter().enumerate() {
        let name = format!("part{number}.o");
        write(&format!("{name}_shipped"), &part.bytes)?;
        if let Some(unit) = units.iter().find(|u| u.name == part.unit)
            && let Some(command) = unit.line.objtool_for(&dir.join(format!("{name}_shipped")))
        {
            run(
                Tool::new("sh").arg("-c").arg(command).dir(&tree.dir),
                &mut log,
                ("objtool fails", BuildExit::Failed),
            )?;
        }
        // modpost looks for what the object was made from; before 6.2 the variable had the shorter name.
        let made = dir.join(&name);
        write(
            &format!(".{name}.cmd"),
            format!("savedcmd_{0} := true\ncmd_{0} := true\n", made.display()).as_bytes(),
        )?;
        objects.push(name);
    }
    let kbuild = format!("obj-m := {0}.o\n{0}-y := {1}\n", sources.name, objects.join(" "));
    write("Kbuild", kbuild.as_bytes())?;
    write("hook.c", sources.hook.as_bytes())?;
    let make = tree
        .make()
        .arg(format!("M={}", dir.display()))
        .arg("KBUILD_MODPOST_WARN=1")
        .arg("KCFLAGS=-g0")
        .arg("modules");
    run(make, &mut log, ("the module cannot be linked", BuildExit::Failed))?;
    let path = dir.join(format!("{}.ko", sources.name));
    std::fs::read(&path).at(&path)
}

/// Signs the module as the kernel's own build does, which must be the last step.
///
/// # Errors
/// When the kernel's program is not there or fails.
pub(super) fn sign(module: &Path, key: &Path, cert: &Path, tree: &PreparedTree) -> Result<()> {
    let program = tree.dir.join("scripts/sign-file");
    if !program.is_file() {
        return Err(KernelError::NoSignatures.into());
    }
    let hash = tree.config.get("MODULE_SIG_HASH").unwrap_or("sha256");
    let out = Tool::new(&program).arg(hash).arg(key).arg(cert).arg(module).output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(KernelError::Sign(out.message()).into())
}
