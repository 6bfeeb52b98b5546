//! The view of the file system that the builds get.

use super::namespace::{Covered, enter, parent_of, show_at, show_nothing};
use super::paths::absolute;
use super::search::PathsInFiles;
use crate::cli::Args;
use crate::elf::Elf;
use crate::error::{Context, Result};
use crate::files::plain;
use crate::private::{private_directory, private_name};
use crate::source::extract;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use walkdir::WalkDir;

/// A bigger target is not searched for paths.
const BIGGEST: u64 = 1 << 31;

/// Where the builds run, as they see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    at: Option<PathBuf>,
    is_tree: bool,
    refused: Option<(PathBuf, String)>,
}

impl View {
    /// Finds out where the targets were built, and has that path for this process and its children, if they
    /// hold it. Paths in `args` that would not lead to the same file any more are changed. The process must
    /// have one thread only.
    pub(crate) fn enter(args: &mut Args) -> Self {
        let is_tree = args.source.is_some();
        if args.target.is_empty() || args.srpm_only || args.kernel.is_some() {
            return Self::default();
        }
        let Some(place) = wanted(args).filter(|place| !is_scratch(place, args)) else {
            return Self::default();
        };
        match settle(&place, args) {
            Ok(()) => Self { at: Some(place), is_tree, refused: None },
            Err(why) => Self { refused: Some((place, why)), ..Self::default() },
        }
    }

    /// The path, if the builds have one of their own.
    pub(crate) fn at(&self) -> Option<&Path> {
        self.at.as_deref()
    }

    /// The place, if the builds see the source tree itself there and not the folder in which rpm unpacks it.
    pub(crate) fn tree(&self) -> Option<&Path> {
        self.at().filter(|_| self.is_tree)
    }

    /// The path that the targets were built at and the builds could not be given, and why.
    pub(crate) fn refused(&self) -> Option<String> {
        let (place, why) = self.refused.as_ref()?;
        let place = place.display();
        Some(format!("the target was built in {place}, and this build could not be given that path: {why}"))
    }

    /// Shows a folder at the path.
    ///
    /// # Errors
    /// When the kernel does not do it.
    pub(crate) fn show(&self, dir: &Path) -> Result<()> {
        self.at.as_ref().map_or(Ok(()), |at| show_at(dir, at).at(at))
    }

    /// Shows nothing there.
    ///
    /// # Errors
    /// When the kernel does not do it.
    pub(crate) fn hide(&self) -> Result<()> {
        self.at.as_ref().map_or(Ok(()), |at| show_nothing(at).at(at))
    }
}

/// Is it in scratch space of ours, where runs of other packages are too?
fn is_scratch(place: &Path, args: &Args) -> bool {
    let base = args.workdir.clone().unwrap_or_else(|| std::env::temp_dir().join(private_name()));
    let below = place.strip_prefix(real(base)).ok().and_then(|below| below.iter().next()?.to_str());
    below.is_some_and(|slot| slot.parse::<u32>().is_ok())
}

/// The path that the targets name.
fn wanted(args: &Args) -> Option<PathBuf> {
    let held = held(args);
    if held.loaded.is_empty() {
        return None;
    }
    let Some(source) = &args.source else { return held.rpm() };
    let dir = source.canonicalize().ok()?;
    // With git it is the whole repository that is checked out.
    let top = dir.ancestors().find(|d| args.git.is_some() && d.join(".git").exists()).unwrap_or(&dir);
    held.tree(top, &package(top))
}

/// The name of a source package: Debian's own word for it, else the folder's.
fn package(dir: &Path) -> String {
    let log = fs::read_to_string(dir.join("debian/changelog")).unwrap_or_default();
    let name = log.split_once(" (").map(|(name, _)| name).filter(|name| !name.contains(char::is_whitespace));
    let folder = dir.file_name().unwrap_or_default().to_string_lossy();
    name.map_or_else(|| folder.split("-").next().unwrap_or_default().to_owned(), str::to_owned)
}

fn held(args: &Args) -> PathsInFiles {
    let mut held = PathsInFiles::default();
    args.target.iter().for_each(|file| read(file, &mut held));
    let mut debug = PathsInFiles::default();
    args.debuginfo.iter().for_each(|file| read(file, &mut debug));
    held.debug.append(&mut debug.debug);
    held
}

/// Reads an ELF file, or all of an RPM.
fn read(file: &Path, held: &mut PathsInFiles) {
    let is_fit = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() < BIGGEST);
    let Some(data) = is_fit.then(|| fs::read(file).ok()).flatten() else { return };
    if data.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
        let Ok(scratch) = tempfile::tempdir() else { return };
        let dir = scratch.path().join("files");
        if extract(file, &dir).is_ok() {
            let files = WalkDir::new(&dir).into_iter().flatten().filter(|e| e.file_type().is_file());
            files.filter_map(|e| fs::read(e.path()).ok()).for_each(|data| read_elf(&data, held));
        }
        return;
    }
    read_elf(&data, held);
}

fn read_elf(data: &[u8], held: &mut PathsInFiles) {
    if !data.starts_with(b"\x7fELF") {
        return;
    }
    absolute(data, &mut held.debug);
    let Ok(elf) = Elf::parse(data) else { return };
    elf.sections.iter().filter(|s| !s.executable).for_each(|s| absolute(&s.data, &mut held.loaded));
}

/// Enters a view with an empty folder at `place`.
fn settle(place: &Path, args: &mut Args) -> std::result::Result<(), String> {
    let words = |e: std::io::Error| e.to_string();
    let here = std::env::current_dir().map_err(words)?;
    let own = [std::env::current_exe().map_err(words)?, std::env::temp_dir()];
    let variables = ["HOME", "XDG_CACHE_HOME"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let tools = std::env::var_os("PATH").unwrap_or_default();
    let tools = std::env::split_paths(&tools).filter(|dir| dir.is_absolute());
    let all = own.into_iter().chain(variables).chain(tools);
    if let Some(needed) = all.map(real).find(|path| path.starts_with(place)) {
        return Err(format!("{} is in it and is needed as it is", needed.display()));
    }
    make_folders(args).map_err(|e| e.to_string())?;
    let parent = parent_of(place).map_err(words)?;
    // Is what is found by this path now another thing in the view, or not there?
    let is_covered = |full: &Path| {
        full.starts_with(place) || full == parent || full.parent() == Some(&parent) && !full.is_dir()
    };
    let mut covered: Vec<(&mut PathBuf, PathBuf)> = Vec::new();
    let commands = [args.build.clone(), args.prepare.clone()].map(Option::unwrap_or_default).concat();
    for path in files_of(args) {
        let full = real(plain(&here.join(&*path)));
        if is_covered(&full) {
            covered.push((path, full));
        }
    }
    let moves_here = is_covered(&here);
    let entered = enter(place, &|name| commands.contains(name)).map_err(words)?;
    let outside = |full: &Path| {
        full.strip_prefix(&entered.parent)
            .map_or_else(|_| full.to_path_buf(), |rest| entered.outside.join(rest))
    };
    for (path, full) in covered {
        *path = outside(&full);
    }
    let here = if moves_here { outside(&here) } else { here };
    let _ = COVERED.set(entered);
    // The working directory is found anew: it may be covered.
    std::env::set_current_dir(here).map_err(words)
}

/// What was covered, if anything was.
static COVERED: OnceLock<Covered> = OnceLock::new();

/// The name that a file has for everybody else.
pub(crate) fn outside_name(path: PathBuf) -> PathBuf {
    let Some(covered) = COVERED.get() else { return path };
    path.strip_prefix(&covered.outside).map(|rest| covered.parent.join(rest)).unwrap_or(path)
}

fn real(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// Makes the folders that a run writes to: in a folder that is covered, what is made later would be in
/// memory, and gone at the end.
fn make_folders(args: &Args) -> Result<()> {
    let cache = args.store();
    for dir in [Some(&args.output), cache.as_ref(), args.workdir.as_ref()].into_iter().flatten() {
        fs::create_dir_all(dir).at(dir)?;
    }
    if args.workdir.is_none() {
        private_directory()?;
    }
    Ok(())
}

/// All files and folders that the options name.
fn files_of(args: &mut Args) -> impl Iterator<Item = &mut PathBuf> {
    let lists = [&mut args.target, &mut args.debuginfo, &mut args.patch];
    let single = [
        &mut args.source,
        &mut args.spec,
        &mut args.srpm,
        &mut args.sourcedir,
        &mut args.cache,
        &mut args.workdir,
    ];
    lists.into_iter().flatten().chain(single.into_iter().flatten()).chain([&mut args.output])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_called_as_debian_calls_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("foo-1.0");
        fs::create_dir_all(tree.join("debian")).unwrap();
        assert_eq!(package(&tree), "foo");
        fs::write(tree.join("debian/changelog"), "bar (1:1.0-1) unstable; urgency=low\n").unwrap();
        assert_eq!(package(&tree), "bar");
        assert_eq!(wanted(&<Args as clap::Parser>::parse_from(["upatch-build"])), None);
    }
}
