//! Inputs of `upatch-build --kernel` that are wrong in one thing. In the options of a case stand for them:
//! `KERNEL`, `OTHER` (folders of this kernel and of another one), `OTHER_SOURCE` (the other one's source),
//! `CONFIGURED` (this kernel's headers with an option that does not go with the others), `PROGRAM` (an ELF
//! file that is no kernel), `FULL` (a file system with room for 256 KB, which must be empty afterwards).

#![expect(clippy::print_stdout, reason = "what is left out is said in the transcript")]

use crate::kernels::Kernel;
use crate::paths::program;
use crate::run::Cmd;
use anyhow::{Result, ensure};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What a case is given.
#[derive(Debug)]
pub struct Inputs {
    /// Its options, with the inputs in place of the words.
    pub options: Vec<String>,
    full: Option<Full>,
}

impl Inputs {
    /// Makes them, in `dir`; `None` where something is not to be had here: the case is left out then.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn of(
        kernel: &Kernel,
        other: Option<&Kernel>,
        options: &[String],
        dir: &Path,
    ) -> Result<Option<Self>> {
        let mut inputs = Self { options: Vec::new(), full: None };
        for option in options {
            let Some(input) = inputs.input(option, kernel, other, dir)? else {
                println!("SKIPPED: no {option} here");
                return Ok(None);
            };
            inputs.options.push(input);
        }
        Ok(Some(inputs))
    }

    fn input(
        &mut self,
        option: &str,
        kernel: &Kernel,
        other: Option<&Kernel>,
        dir: &Path,
    ) -> Result<Option<String>> {
        let (word, rest) = option.split_at(option.find('/').unwrap_or(option.len()));
        let path = match word {
            "KERNEL" => Some(kernel.dir.clone()),
            "OTHER" => other.map(|k| k.dir.clone()),
            "OTHER_SOURCE" => other.map(|k| k.source.clone()),
            "CONFIGURED" => Some(configured(kernel, &dir.join("headers"))?),
            "PROGRAM" => Some(program("upatch-build")?),
            "FULL" => {
                self.full = Full::mount(&dir.join("full"))?;
                self.full.as_ref().map(|f| f.0.clone())
            }
            _ => return Ok(Some(option.to_owned())),
        };
        Ok(path.map(|p| format!("{}{rest}", p.display())))
    }

    /// Has the run left nothing where there was no room?
    ///
    /// # Errors
    /// When there is something.
    pub fn check(&self) -> Result<()> {
        let Some(Full(dir)) = &self.full else { return Ok(()) };
        let found = Cmd::new("find").arg(dir).args(["-type", "f", "-size", "+0"]).run()?.ok()?;
        let left: Vec<&str> = found.stdout.lines().collect();
        ensure!(left.is_empty(), "left on the full file system: {left:?}");
        Ok(())
    }
}

/// The kernel's headers with a configuration in which the live patches lack what they need.
fn configured(kernel: &Kernel, to: &Path) -> Result<PathBuf> {
    let from = kernel.dir.join("usr/src").join(format!("linux-headers-{}", kernel.release));
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(&from)?.flatten().filter(|e| e.file_name() != ".config") {
        symlink(entry.path(), to.join(entry.file_name()))?;
    }
    let text = std::fs::read_to_string(from.join(".config"))?;
    let without = text.replace("CONFIG_FTRACE=y", "# CONFIG_FTRACE is not set");
    ensure!(without != text, "CONFIG_FTRACE is off");
    std::fs::write(to.join(".config"), without)?;
    Ok(to.to_path_buf())
}

/// A small file system, as long as this lives.
#[derive(Debug)]
struct Full(PathBuf);

impl Full {
    /// `None` without the rights to mount one.
    fn mount(dir: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(dir)?;
        let mounted = Cmd::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(dir).run()?;
        Ok((mounted.code == 0).then(|| Self(dir.to_path_buf())))
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = Cmd::new("umount").arg(&self.0).run();
    }
}
