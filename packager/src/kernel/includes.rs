//! Which units may include a changed file.
//!
//! Kbuild's own lists of dependencies are there only for what was compiled. So the names in `#include` lines
//! of the whole tree are read, once for each prepared tree, and followed backwards. That finds rather too
//! many units: those whose Kbuild line then does not name the file, and those whose object comes out the
//! same, drop out.

use super::tree::PreparedTree;
use crate::error::{Context, Result};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Top folders that hold nothing a kernel is compiled from.
const NO_CODE: [&str; 7] = ["Documentation", "LICENSES", "tools", "samples", "scripts", "usr", "rust"];
/// The index beside the tree.
const INDEX: &str = "includes";

/// Files with the names that they include. A name in quotes is looked for beside the file first.
#[derive(Debug, Default)]
pub(super) struct Includes {
    files: BTreeMap<String, Vec<Name>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    quoted: bool,
    path: String,
}

impl Includes {
    /// Of a tree: read from the index, or from all of its files.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub(super) fn of(tree: &PreparedTree) -> Result<Self> {
        let index = tree.slot().beside(INDEX);
        if let Ok(text) = std::fs::read_to_string(&index) {
            return Ok(Self::parse(&text));
        }
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(&tree.dir).at(&tree.dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !NO_CODE.contains(&name.as_str()) && !name.starts_with('.') {
                collect(&tree.dir, Path::new(&name), tree.srcarch, &mut sources);
            }
        }
        let read = |path: &PathBuf| {
            let text = std::fs::read(tree.dir.join(path)).unwrap_or_default();
            (path.to_string_lossy().into_owned(), names(&text))
        };
        let includes = Self { files: sources.par_iter().map(read).collect() };
        // A convenience: it is made again where it cannot be kept.
        if let Some(dir) = index.parent()
            && let Ok(file) = tempfile::NamedTempFile::new_in(dir)
            && std::fs::write(file.path(), includes.text()).is_ok()
        {
            let _ = file.persist(&index);
        }
        Ok(includes)
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (file, names) in &self.files {
            let _ = write!(out, "{file}");
            for name in names {
                let _ = write!(out, "\t{}{}", if name.quoted { '"' } else { '<' }, name.path);
            }
            out.push('\n');
        }
        out
    }

    fn parse(text: &str) -> Self {
        let name = |word: &str| Name { quoted: word.starts_with('"'), path: word[1..].to_owned() };
        let line = |line: &str| {
            let mut words = line.split('\t');
            let file = words.next().unwrap_or_default().to_owned();
            (file, words.filter(|w| w.len() > 1).map(name).collect())
        };
        Self { files: text.lines().map(line).collect() }
    }

    /// The `.c` files that may include one of `changed`, directly or by way of others, in order.
    pub(super) fn including(&self, changed: &[PathBuf]) -> Vec<PathBuf> {
        // By the last part of a name, who includes something that ends so.
        let mut by_end: BTreeMap<&str, Vec<(&str, &Name)>> = BTreeMap::new();
        for (file, names) in &self.files {
            for name in names {
                by_end.entry(last(&name.path)).or_default().push((file, name));
            }
        }
        let mut seen: BTreeSet<String> = changed.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        let mut open: Vec<String> = seen.iter().cloned().collect();
        while let Some(target) = open.pop() {
            for (file, name) in by_end.get(last(&target)).into_iter().flatten() {
                if self.may_mean(file, name, &target) && seen.insert((*file).to_owned()) {
                    open.push((*file).to_owned());
                }
            }
        }
        let changed: BTreeSet<&PathBuf> = changed.iter().collect();
        let is_unit = |p: &PathBuf| p.extension().is_some_and(|e| e == "c") && !changed.contains(p);
        seen.into_iter().map(PathBuf::from).filter(is_unit).collect()
    }

    /// May `name`, in `file`, be the file `target`?
    fn may_mean(&self, file: &str, name: &Name, target: &str) -> bool {
        if name.quoted {
            let beside = normal(&Path::new(file).parent().unwrap_or(Path::new("")).join(&name.path));
            if self.files.contains_key(&beside) {
                return beside == target;
            }
        }
        let bare = normal(Path::new(&name.path));
        let bare = bare.trim_start_matches("../");
        target == bare || target.ends_with(&format!("/{bare}"))
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Without `.` and `x/..`; a `..` that leads out stays.
fn normal(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().unwrap_or_default().split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn collect(root: &Path, dir: &Path, srcarch: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
        let path = dir.join(entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let is_foreign = dir == Path::new("arch") && entry.file_name() != *srcarch;
            if !is_foreign {
                collect(root, &path, srcarch, out);
            }
        } else if matches!(path.extension().and_then(|e| e.to_str()), Some("c" | "h" | "inc" | "def")) {
            out.push(path);
        }
    }
}

/// The names in the `#include` lines of a text. Names that are macros are not known here.
fn names(text: &[u8]) -> Vec<Name> {
    let mut all = Vec::new();
    for at in memchr::memmem::find_iter(text, b"include") {
        let line_start = text[..at].iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
        let before = text[line_start..at].trim_ascii();
        if before != b"#" {
            continue;
        }
        let rest = text[at + b"include".len()..].trim_ascii_start();
        let (close, quoted) = match rest.first() {
            Some(b'<') => (b'>', false),
            Some(b'"') => (b'"', true),
            _ => continue,
        };
        let Some(end) = rest[1..].iter().take(200).position(|b| *b == close) else { continue };
        if let Ok(path) = std::str::from_utf8(&rest[1..=end])
            && !path.contains(['\n', '\t'])
        {
            all.push(Name { quoted, path: path.to_owned() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn includes(files: &[(&str, &str)]) -> Includes {
        Includes { files: files.iter().map(|(f, t)| ((*f).to_owned(), names(t.as_bytes()))).collect() }
    }

    fn including(includes: &Includes, file: &str) -> Vec<String> {
        includes.including(&[file.into()]).iter().map(|p| p.display().to_string()).collect()
    }

    const FILES: [(&str, &str); 8] = [
        ("include/linux/a.h", ""),
        ("include/linux/b.h", "#include <linux/a.h>\n"),
        ("fs/x.c", "  #  include <linux/b.h>\n"),
        ("fs/internal.h", "// #include <linux/a.h>\n"),
        ("mm/internal.h", ""),
        ("mm/y.c", "#include \"internal.h\"\n"),
        ("fs/deep/z.c", "#include \"../internal.h\"\n#include MACRO\n"),
        ("kernel/sched/build.c", "#include \"rt.c\"\n"),
    ];

    #[test]
    fn includers_are_found_over_others() {
        let includes = includes(&FILES);
        assert_eq!(including(&includes, "include/linux/a.h"), ["fs/x.c"]);
        assert_eq!(including(&includes, "fs/internal.h"), ["fs/deep/z.c"]);
        assert_eq!(including(&includes, "mm/internal.h"), ["mm/y.c"]);
        assert_eq!(including(&includes, "kernel/sched/rt.c"), ["kernel/sched/build.c"]);
    }

    #[test]
    fn the_index_says_the_same() {
        let read = includes(&FILES);
        assert_eq!(Includes::parse(&read.text()).files, read.files);
    }
}
