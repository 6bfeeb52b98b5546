//! Which files the kernel asks about before they are executed or opened.

use crate::{
    TargetId,
    catalog::{ElfFile, elf_file},
    engine::target::procfile,
};
use nix::{
    fcntl::OFlag,
    sys::fanotify::{Fanotify, MarkFlags, MaskFlags},
};
use std::{
    collections::{HashMap, HashSet},
    fs::{Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file, for as long as it has this content.
type Version = (u64, u64, u64, i64, i64);

/// The files watched.
#[derive(Debug)]
pub(super) struct Marks {
    group: Arc<Fanotify>,
    /// What each file is, and where it was found, by device and inode.
    marked: HashMap<(u64, u64), (ElfFile, PathBuf)>,
    /// What is known of files, so that each is read once.
    known: HashMap<Version, Option<ElfFile>>,
    targets: Vec<TargetId>,
    /// Mappings looked at: device and inode as `/proc/PID/maps` has them.
    seen: HashSet<(String, String)>,
    /// Why a file that should be watched is not.
    pub(super) trouble: Option<String>,
}

fn version(meta: &Metadata) -> Version {
    (meta.dev(), meta.ino(), meta.size(), meta.mtime_nsec() ^ meta.mtime(), meta.ctime_nsec() ^ meta.ctime())
}

/// The kernel asks about programs when they are executed, and about libraries when they are opened.
fn mask(file: &ElfFile) -> MaskFlags {
    let program = if file.program { MaskFlags::FAN_OPEN_EXEC_PERM } else { MaskFlags::empty() };
    let library = if file.library { MaskFlags::FAN_OPEN_PERM } else { MaskFlags::empty() };
    program | library
}

impl Marks {
    pub(super) fn new(group: Arc<Fanotify>) -> Self {
        let (marked, known, targets, seen) = (HashMap::new(), HashMap::new(), Vec::new(), HashSet::new());
        Self { group, marked, known, targets, seen, trouble: None }
    }

    /// Number of files watched.
    pub(super) fn count(&self) -> usize {
        self.marked.len()
    }

    /// From now on `targets` are watched, at `paths` below `root` or at these paths themselves.
    pub(super) fn follow(&mut self, root: &Path, paths: &[String], targets: Vec<TargetId>) {
        if targets != self.targets {
            self.seen.clear();
            self.targets = targets;
        }
        self.trouble = None;
        let gone: Vec<_> =
            self.marked.iter().filter(|(_, (file, _))| !self.wanted(file)).map(|(k, _)| *k).collect();
        for key in gone {
            self.unmark(key);
        }
        let mut tried = HashSet::new();
        for path in paths {
            let absolute = Path::new("/").join(path);
            let below = root.join(absolute.strip_prefix("/").unwrap_or(&absolute));
            for path in [below, absolute] {
                if tried.insert(path.clone()) {
                    self.look_at(&path);
                }
            }
        }
    }

    /// Watches what process `pid` maps of the targets: also files that were removed or replaced since, and
    /// those of other mount namespaces.
    pub(super) fn follow_process(&mut self, pid: i32) {
        let Ok(maps) = procfile::text(&format!("/proc/{pid}/maps")) else { return };
        for line in maps.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(range), _, Some(offset), Some(device), Some(inode)) =
                (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let begins = offset.bytes().all(|b| b == b'0') && inode != "0" && fields.next().is_some();
            if begins && self.seen.insert((device.to_owned(), inode.to_owned())) {
                self.look_at(Path::new(&format!("/proc/{pid}/map_files/{range}")));
            }
        }
    }

    fn wanted(&self, file: &ElfFile) -> bool {
        self.targets.iter().any(|t| file.is(t))
    }

    fn look_at(&mut self, path: &Path) {
        // A pipe must not hold us up.
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let Ok(file) = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) else { return };
        let Ok(meta) = file.metadata() else { return };
        if !meta.is_file() {
            return;
        }
        let targets = &self.targets;
        let digest = || targets.iter().any(|t| t.build_id.is_none());
        let found =
            self.known.entry(version(&meta)).or_insert_with(|| elf_file(&file, digest()).ok().flatten());
        let Some(found) = found.clone().filter(|f| targets.iter().any(|t| f.is(t))) else { return };
        let key = (meta.dev(), meta.ino());
        if self.marked.contains_key(&key) {
            return;
        }
        match self.group.mark(MarkFlags::FAN_MARK_ADD, mask(&found), &file, None::<&Path>) {
            Ok(()) => {
                self.marked.insert(key, (found, path.to_owned()));
            }
            Err(error) => self.trouble = Some(format!("{}: {}", path.display(), io::Error::from(error))),
        }
    }

    fn unmark(&mut self, key: (u64, u64)) {
        let Some((file, path)) = self.marked.remove(&key) else { return };
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let Ok(open) = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) else { return };
        // Another file by now: the mark went with the old one, or costs its users an answer.
        if open.metadata().is_ok_and(|m| (m.dev(), m.ino()) == key) {
            let _ = self.group.mark(MarkFlags::FAN_MARK_REMOVE, mask(&file), &open, None::<&Path>);
        }
    }
}
