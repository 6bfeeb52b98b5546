//! Which folders of a crate use each other: a graph that is read from the paths (`crate::…`, `super::…`) in
//! the source.
//!
//! The folders that lie beside each other are the nodes, at the top of a crate also its files. A folder and
//! what lies in it are not held against each other. Unit tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::package::files_below;
use crate::words::{Word, words};

/// Names of the modules from the root of a crate to one module.
type Module = Vec<String>;

/// One crate's modules.
#[derive(Debug)]
pub struct Crate {
    modules: BTreeMap<Module, Source>,
}

#[derive(Debug, Default)]
struct Source {
    file: PathBuf,
    words: Vec<Word>,
    /// Names that the module takes from elsewhere and gives on, with the paths that they stand for; `*` for
    /// all names of a module.
    reexports: Vec<(String, Module)>,
}

/// Files that use each other in a circle, in words.
pub type Circle = String;

impl Crate {
    /// Reads the modules below `src`. Programs (`main.rs`, `bin`) use the library by its name, and are left
    /// out.
    pub fn read(src: &Path) -> Result<Self> {
        let mut modules = BTreeMap::new();
        for file in files_below(src)? {
            let below = file.strip_prefix(src)?;
            let program = below.starts_with("bin") || below == Path::new("main.rs");
            if program || file.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let mut module: Module =
                below.with_extension("").iter().map(|p| p.to_string_lossy().into()).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            let text = fs::read_to_string(&file)?;
            modules
                .insert(module, Source { file, words: words(without_tests(&text)), reexports: Vec::new() });
        }
        ensure!(modules.contains_key(&Module::new()), "no library in {}", src.display());
        let mut all = Self { modules };
        let reexports: Vec<_> = all.modules.keys().map(|m| (m.clone(), all.reexports(m))).collect();
        for (module, list) in reexports {
            all.modules.get_mut(&module).context("module")?.reexports = list;
        }
        Ok(all)
    }

    /// Circles of folders that lie beside each other, each with one use for every step.
    pub fn circles(&self) -> Vec<Circle> {
        // Per parent folder: from which of its folders to which, and where in the source.
        let mut graphs: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
        for (module, source) in &self.modules {
            for (line, path) in self.uses(module) {
                let target = self.defining(&path, 0);
                let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
                let (Some(from), Some(to)) = (module.get(common), target.get(common)) else { continue };
                let parent = &module[..common];
                if common == 0 || (self.is_folder(parent, from) && self.is_folder(parent, to)) {
                    let used = format!("{}:{line}: {}", source.file.display(), path.join("::"));
                    let graph = graphs.entry(parent.to_vec()).or_default();
                    graph.entry((from.clone(), to.clone())).or_insert(used);
                }
            }
        }
        graphs.values().flat_map(circles).collect()
    }

    fn is_folder(&self, parent: &[String], name: &str) -> bool {
        let depth = parent.len();
        let below = |m: &Module| m.len() > depth + 1 && m.starts_with(parent) && m[depth] == name;
        self.modules.keys().any(below)
    }

    /// The module that defines what a path names, as far as it can be told: names that a module only gives on
    /// are followed.
    fn defining(&self, path: &[String], depth: usize) -> Module {
        let mut at = Module::new();
        for (index, name) in path.iter().enumerate() {
            let mut inner = at.clone();
            inner.push(name.clone());
            if self.modules.contains_key(&inner) {
                at = inner;
                continue;
            }
            let Some(source) = self.modules.get(&at) else { break };
            // Two modules that give on all of each other would never end.
            if depth > 8 {
                break;
            }
            let given = source.reexports.iter().find_map(|(given, target)| {
                if given == name {
                    return Some([target.as_slice(), &path[index + 1..]].concat());
                }
                let all = (given == "*").then(|| self.defining(target, depth + 1))?;
                self.defines(&all, name).then(|| [all.as_slice(), &path[index..]].concat())
            });
            return given.map_or(at, |target| self.defining(&target, depth + 1));
        }
        at
    }

    fn defines(&self, module: &[String], name: &str) -> bool {
        const ITEMS: [&str; 8] = ["struct", "enum", "fn", "trait", "type", "const", "static", "union"];
        let Some(source) = self.modules.get(module) else { return false };
        source.words.windows(2).any(|w| ITEMS.contains(&w[0].text.as_str()) && w[1].text == name)
    }

    /// Every path of the module that begins with `crate`, `self` or `super`, or in a `use` with a module
    /// beside it, from the root of the crate, with its line.
    fn uses(&self, module: &Module) -> Vec<(usize, Module)> {
        let Some(source) = self.modules.get(module) else { return Vec::new() };
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(word) = source.words.get(at) {
            let begins = matches!(word.text.as_str(), "crate" | "self" | "super");
            let is_path = source.words.get(at + 1).is_some_and(|w| w.text == "::");
            let continues = at > 0 && source.words[at - 1].text == "::";
            if begins && is_path && !continues {
                let mut paths = Vec::new();
                at = tree(&source.words, at, &[], &mut paths);
                found.extend(paths.into_iter().filter_map(|p| Some((word.line, from_root(module, &p.0)?))));
            } else {
                at += 1;
            }
        }
        found
    }

    fn reexports(&self, module: &Module) -> Vec<(String, Module)> {
        let Some(source) = self.modules.get(module) else { return Vec::new() };
        let mut found = Vec::new();
        for (index, word) in source.words.iter().enumerate() {
            if word.text != "use" || !is_public(&source.words[..index]) {
                continue;
            }
            let mut paths = Vec::new();
            tree(&source.words, index + 1, &[], &mut paths);
            for (path, name) in paths {
                let own = path.first().is_some_and(|first| {
                    let mut inner = module.clone();
                    inner.push(first.clone());
                    self.modules.contains_key(&inner)
                });
                let path = if own {
                    [module.clone(), path].concat()
                } else {
                    from_root(module, &path).unwrap_or_default()
                };
                found.extend(Some((name, path)).filter(|(_, path)| !path.is_empty()));
            }
        }
        found
    }
}

/// `pub` or `pub(…)` stands right before.
fn is_public(before: &[Word]) -> bool {
    let text =
        |back: usize| before.len().checked_sub(back).and_then(|i| before.get(i)).map(|w| w.text.as_str());
    text(1) == Some("pub") || (text(1) == Some(")") && (2..8).any(|back| text(back) == Some("pub")))
}

/// The paths of a tree as `use` has them, `a::{b, c::d as e}`, each with the name that it gets; all of a
/// module is `*`. Gives the place behind the tree.
fn tree(words: &[Word], mut at: usize, before: &[String], out: &mut Vec<(Module, String)>) -> usize {
    let mut path = before.to_vec();
    let text = |at: usize| words.get(at).map_or("", |w| w.text.as_str());
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    at = tree(words, at, &path, out);
                    at += usize::from(text(at) == ",");
                }
                return at + 1;
            }
            "*" => {
                out.push((path, "*".to_owned()));
                return at + 1;
            }
            name if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => path.push(name.to_owned()),
            _ => return at + 1,
        }
        at += 1;
        if text(at) != "::" {
            break;
        }
        at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if text(at) == "as" {
        name = text(at + 1).to_owned();
        at += 2;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
        name = path.last().cloned().unwrap_or_default();
    }
    out.push((path, name));
    at
}

/// A path from the root, of one that begins with `crate`, `self` or `super`.
fn from_root(module: &[String], path: &[String]) -> Option<Module> {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        _ => return None,
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// The text in front of the unit tests, which stand at the end of a file.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// The circles of a graph: each node of one that is not in an earlier one leads to the shortest way back to
/// it.
fn circles(edges: &BTreeMap<(String, String), String>) -> Vec<Circle> {
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for start in edges.keys().map(|(from, _)| from.as_str()) {
        if told.contains(start) {
            continue;
        }
        // Breadth first, with the way that led to each node.
        let mut ways: BTreeMap<&str, Vec<&(String, String)>> = BTreeMap::new();
        let mut todo = std::collections::VecDeque::from([(start, Vec::new())]);
        while let Some((node, way)) = todo.pop_front() {
            for edge in edges.keys().filter(|(from, _)| from == node) {
                let mut longer = way.clone();
                longer.push(edge);
                if !ways.contains_key(edge.1.as_str()) {
                    ways.insert(&edge.1, longer.clone());
                    todo.push_back((&edge.1, longer));
                }
            }
        }
        let Some(way) = ways.get(start) else { continue };
        told.extend(way.iter().map(|(from, _)| from.as_str()));
        let steps: Vec<String> =
            way.iter().map(|edge| format!("  {} -> {}  ({})", edge.0, edge.1, edges[*edge])).collect();
        found.push(steps.join("\n"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<Circle> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Crate::read(dir.path()).unwrap().circles()
    }

    #[test]
    fn two_folders_that_use_each_other_are_a_circle() {
        let found = circles_of(&[
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod x;"),
            ("a/x.rs", "use crate::{b::{Y, Z as W}, a};"),
            ("b/mod.rs", "fn f() -> u8 { super::a::x::f() }"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a -> b") && found[0].contains("b -> a"), "{found:?}");
    }

    #[test]
    fn names_are_followed_to_where_they_are_defined() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; pub use c::*; pub(crate) use a::Thing;"),
            ("a.rs", "use crate::Other; pub struct Thing;"),
            ("b.rs", "use crate::Thing; // crate::c::Other\nconst T: &str = \"crate::c\";"),
            ("c.rs", "pub struct Other; #[cfg(test)]\nmod tests { use crate::b; }"),
        ];
        assert!(circles_of(&files).is_empty());
        let mut circle = files;
        circle[3].1 = "pub struct Other; use crate::b;";
        assert_eq!(circles_of(&circle).len(), 1);
    }

    #[test]
    fn files_in_a_folder_may_use_each_other() {
        let found = circles_of(&[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod x; mod y;"),
            ("a/x.rs", "use super::y;"),
            ("a/y.rs", "use super::x;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }
}
