//! Asks the kernel's Makefiles whether a file is built in this configuration, and into what.

use super::tree::PreparedTree;
use crate::error::{Context, KernelError, Result};
use crate::process::Tool;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ASK: &str = include_str!("ask.mk");

/// What an object becomes a part of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The kernel itself.
    Kernel,
    /// Modules, each as Kbuild makes it: `fs/xfs/xfs`.
    Modules(Vec<String>),
    /// Nothing: it is not built in this configuration.
    NotBuilt,
}

/// What one folder's Makefile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Folder {
    /// Objects and folders that are built in.
    built_in: BTreeSet<String>,
    /// Objects and folders of modules.
    modules: BTreeSet<String>,
    /// Parts of composite objects.
    parts: BTreeMap<String, BTreeSet<String>>,
}

impl Folder {
    fn read(text: &str) -> Self {
        let mut folder = Self::default();
        for line in text.lines().filter_map(|l| l.strip_prefix("upatch ")) {
            let mut words = line.split_whitespace();
            let kind = words.next().unwrap_or_default();
            match kind {
                "y" | "l" => folder.built_in.extend(words.map(str::to_owned)),
                "m" => folder.modules.extend(words.map(str::to_owned)),
                "of" => {
                    let Some(whole) = words.next() else { continue };
                    let parts: BTreeSet<String> = words.map(str::to_owned).collect();
                    if !parts.is_empty() {
                        folder.parts.insert(whole.to_owned(), parts);
                    }
                }
                _ => {}
            }
        }
        folder
    }

    /// The objects of the list that hold `object`, themselves or as a part.
    fn holding(&self, list: &BTreeSet<String>, object: &str) -> Vec<String> {
        let holds = |whole: &&String| match self.parts.get(*whole) {
            Some(parts) => parts.contains(object),
            None => *whole == object,
        };
        list.iter().filter(holds).cloned().collect()
    }
}

/// Answers of the Makefiles, each asked once.
#[derive(Debug)]
pub(super) struct Kbuild<'t> {
    tree: &'t PreparedTree,
    ask: PathBuf,
    folders: BTreeMap<PathBuf, Folder>,
}

impl<'t> Kbuild<'t> {
    /// For a tree; `scratch` is a directory for our question.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub(super) fn new(tree: &'t PreparedTree, scratch: &Path) -> Result<Self> {
        let ask = scratch.join("ask.mk");
        std::fs::write(&ask, ASK).writing(&ask)?;
        Ok(Self { tree, ask, folders: BTreeMap::new() })
    }

    /// What the object of this source file (relative to the tree) becomes a part of.
    ///
    /// # Errors
    /// When a Makefile cannot be asked.
    pub(super) fn part_of(&mut self, source: &Path) -> Result<Part> {
        let (Some(dir), Some(stem)) = (source.parent(), source.file_stem().and_then(|s| s.to_str())) else {
            return Ok(Part::NotBuilt);
        };
        let object = format!("{stem}.o");
        // A composite object's part may lie in a folder below that of its Makefile (`xfs-y +=
        // libxfs/xfs_ag.o`).
        let mut below = PathBuf::new();
        let mut at = Some(dir);
        while let Some(dir) = at.filter(|d| !d.as_os_str().is_empty()) {
            if self.has_makefile(dir) {
                let name = below.join(&object).to_string_lossy().into_owned();
                let folder = self.folder(dir)?;
                let modules = folder.holding(&folder.modules, &name);
                let built_in = folder.holding(&folder.built_in, &name);
                if !built_in.is_empty() && self.reaches(dir, false)? {
                    return Ok(Part::Kernel);
                }
                if !modules.is_empty() && self.reaches(dir, true)? {
                    let path = |m: &String| dir.join(m).with_extension("").to_string_lossy().into_owned();
                    return Ok(Part::Modules(modules.iter().map(path).collect()));
                }
            }
            let name = dir.file_name().unwrap_or_default();
            below = Path::new(name).join(&below);
            at = dir.parent();
        }
        Ok(Part::NotBuilt)
    }

    fn has_makefile(&self, dir: &Path) -> bool {
        ["Kbuild", "Makefile"].iter().any(|name| self.tree.dir.join(dir).join(name).is_file())
    }

    /// Does the build come to this folder, for modules or for what is built in?
    fn reaches(&mut self, dir: &Path, for_modules: bool) -> Result<bool> {
        let mut child = dir.to_path_buf();
        while let Some(parent) = child.parent().map(Path::to_path_buf) {
            if self.is_root(&child) {
                return Ok(true);
            }
            let at = if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.clone() };
            if !self.has_makefile(&at) {
                // `obj-y += libs/a/`: named from further up.
                let Some(up) = at.ancestors().skip(1).find(|d| self.has_makefile(d)).map(Path::to_path_buf)
                else {
                    return Ok(false);
                };
                if !self.names(&up, &child, for_modules)? {
                    return Ok(false);
                }
                child = up;
                continue;
            }
            if !self.names(&at, &child, for_modules)? {
                return Ok(false);
            }
            child = parent;
        }
        Ok(true)
    }

    /// Does the Makefile of `dir` lead to the folder `child`?
    fn names(&mut self, dir: &Path, child: &Path, for_modules: bool) -> Result<bool> {
        let below = child.strip_prefix(dir).unwrap_or(child).to_string_lossy().into_owned() + "/";
        let folder = self.folder(dir)?;
        let in_list = |list: &BTreeSet<String>| list.contains(&below);
        Ok(in_list(&folder.built_in) || for_modules && in_list(&folder.modules))
    }

    /// Folders that the top Makefile or that of the machine names in variables of its own (`core-y`,
    /// `drivers-y`, `libs-y`).
    fn is_root(&self, dir: &Path) -> bool {
        let arch = format!("arch/{}", self.tree.srcarch);
        let known =
            ["lib", "init", "kernel", "mm", "fs", "drivers", "net", "block", "crypto", "security", "sound"];
        let more = ["ipc", "virt", "io_uring", "certs", "usr", &arch];
        if known.iter().chain(&more).any(|d| dir == Path::new(d)) {
            return true;
        }
        if !dir.starts_with(&arch) {
            return false;
        }
        let text = std::fs::read_to_string(self.tree.dir.join(&arch).join("Makefile")).unwrap_or_default();
        let wanted = format!("{}/", dir.display());
        text.lines().any(|line| {
            let Some((variable, value)) = line.split_once("+=") else { return false };
            let Some((kind, condition)) = variable.trim().split_once('-') else { return false };
            let option = condition.strip_prefix("$(CONFIG_").and_then(|o| o.strip_suffix(')'));
            let is_on = condition == "y" || option.is_some_and(|o| self.tree.config.get(o).is_some());
            ["core", "drivers", "libs"].contains(&kind)
                && is_on
                && value.split_whitespace().any(|v| v == wanted)
        })
    }

    fn folder(&mut self, dir: &Path) -> Result<Folder> {
        if let Some(known) = self.folders.get(dir) {
            return Ok(known.clone());
        }
        let out = Tool::new("make")
            .args(["-s", "--no-print-directory", "-f"])
            .arg(&self.ask)
            .args(["srctree=.", "srcroot=.", "CONFIG_SHELL=sh"])
            .arg(format!("obj={}", dir.display()))
            .arg(format!("SRCARCH={}", self.tree.srcarch))
            .arg(format!("CC={}", self.tree.compiler.program))
            .env("MAKEFLAGS", "")
            .env("LC_ALL", "C")
            .dir(&self.tree.dir)
            .output()?;
        if !out.status.success() {
            return Err(KernelError::Makefile { dir: dir.to_path_buf(), said: out.message() }.into());
        }
        let folder = Folder::read(&String::from_utf8_lossy(&out.stdout));
        self.folders.insert(dir.to_path_buf(), folder.clone());
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_as_they_are_and_as_parts() {
        let text = "noise\nupatch y a.o sub/\nupatch m xfs.o b.o\nupatch l\nupatch of a.o \nupatch of xfs.o p.o libxfs/q.o\n";
        let folder = Folder::read(text);
        assert_eq!(folder.holding(&folder.built_in, "a.o"), ["a.o"]);
        assert_eq!(folder.holding(&folder.modules, "libxfs/q.o"), ["xfs.o"]);
        assert_eq!(folder.holding(&folder.modules, "b.o"), ["b.o"]);
        assert!(folder.holding(&folder.modules, "xfs.o").is_empty() && folder.built_in.contains("sub/"));
    }
}
