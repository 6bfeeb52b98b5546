//! Which path a file was built at, told by the paths that it holds.
//!
//! `__FILE__` and `assert` leave names of sources in a program, some packages their options. A name that ends
//! like a file of the source tree begins with the place where the tree was. Debug information has more of
//! such names; alone it is no reason to go anywhere, since it is no part of what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Endings of what compilers name in messages.
const SOURCES: [&str; 19] = [
    "c", "h", "cc", "hh", "cpp", "hpp", "cxx", "hxx", "c++", "h++", "C", "H", "inc", "ipp", "tcc", "y", "l",
    "s", "S",
];

/// Paths that files hold.
#[derive(Debug, Default)]
pub(super) struct PathsInFiles {
    /// In what is loaded.
    pub(super) loaded: BTreeSet<PathBuf>,
    /// In debug information.
    pub(super) debug: BTreeSet<PathBuf>,
}

impl PathsInFiles {
    /// Where the source tree at `dir` was when it was built. `package` is its name.
    pub(super) fn tree(&self, dir: &Path, package: &str) -> Option<PathBuf> {
        let mut votes: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for path in self.loaded.iter().chain(&self.debug).filter(|p| is_source(p)) {
            if let Some(place) = before_file_of(path, dir).filter(|p| plausible(p)) {
                *votes.entry(place).or_default() += 1;
            }
        }
        let best = votes.into_iter().filter(|(place, _)| self.is_loaded(place)).max_by_key(|(_, n)| *n);
        best.map(|(place, _)| place).or_else(|| self.by_name(dir, package))
    }

    /// A folder with the name of the tree, or with that of the package and a version, as Debian's builders
    /// and others have it.
    fn by_name(&self, dir: &Path, package: &str) -> Option<PathBuf> {
        let own = dir.file_name()?.to_str()?;
        let is_ours =
            |name: &str| (name == own && has_version(name, None)) || has_version(name, Some(package));
        let found = self.loaded.iter().find_map(|path| up_to(path, is_ours))?;
        (plausible(&found) && !found.starts_with("/var") && !found.starts_with("/opt")).then_some(found)
    }

    /// rpm's build directory, which has been called `BUILD` always; since rpm 4.20 each package has its own
    /// in it.
    pub(super) fn rpm(&self) -> Option<PathBuf> {
        let mut votes: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for path in &self.loaded {
            let Some(mut place) = up_to(path, |name| name == "BUILD") else { continue };
            let next = path.strip_prefix(&place).ok().and_then(|rest| rest.components().next());
            if let Some(own) = next.filter(|n| n.as_os_str().to_string_lossy().ends_with("-build")) {
                place.push(own);
            }
            if plausible(&place) {
                *votes.entry(place).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, n)| *n).map(|(place, _)| place)
    }

    fn is_loaded(&self, place: &Path) -> bool {
        self.loaded.iter().any(|path| path.starts_with(place))
    }
}

fn is_source(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| SOURCES.contains(&e))
}

/// `path` without its longest end that is a file in `dir`.
fn before_file_of(path: &Path, dir: &Path) -> Option<PathBuf> {
    let found = path
        .ancestors()
        .skip(1)
        .filter(|place| place.parent().is_some())
        .filter(|place| path.strip_prefix(place).is_ok_and(|end| dir.join(end).is_file()));
    found.last().map(Path::to_path_buf)
}

/// The beginning of `path` up to the folder that is one.
fn up_to(path: &Path, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let name = |p: &Path| p.file_name().and_then(|n| n.to_str()).is_some_and(&is_it);
    path.ancestors().filter(|p| name(p)).last().map(Path::to_path_buf)
}

/// `NAME-1.0`, of this package or of any.
fn has_version(folder: &str, package: Option<&str>) -> bool {
    let at_version = |(at, _): &(usize, &str)| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    let Some((at, _)) = folder.match_indices('-').find(at_version) else { return false };
    package.is_none_or(|package| &folder[..at] == package)
}

/// Can something be built there? Not among the system's own files, which a build needs as they are.
fn plausible(place: &Path) -> bool {
    let systems = [
        "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/proc", "/sys", "/dev", "/run",
        "/boot", "/nix",
    ];
    let except = ["/usr/src", "/usr/local/src", "/run/build"];
    let below = |tops: &[&str]| tops.iter().any(|top| place.starts_with(top));
    let is_except = except.iter().any(|top| place == Path::new(top));
    place.is_absolute()
        && place.parent().is_some()
        && (!below(&systems) || below(&except) && !is_except)
        && place != Path::new("/var")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(loaded: &[&str]) -> PathsInFiles {
        PathsInFiles { loaded: loaded.iter().map(PathBuf::from).collect(), debug: BTreeSet::new() }
    }

    #[test]
    fn the_place_of_a_tree_is_what_stands_before_its_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        for file in ["src/main.c", "main.c", "conf.c", "zlib.h", "README"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let tree = |paths: &[&str]| held(paths).tree(dir.path(), "foo").map(|p| p.display().to_string());
        assert_eq!(tree(&["/some/odd/path/src/main.c"]).as_deref(), Some("/some/odd/path"));
        assert_eq!(tree(&["/src/conf.c"]).as_deref(), Some("/src"));
        assert_eq!(tree(&["/usr/include/zlib.h", "/etc/README", "/usr/share/foo-1.0/x"]), None);
        assert_eq!(tree(&["/b/foo-1.0", "/b/bar-2.0/x.c"]).as_deref(), Some("/b/foo-1.0"));
        let most = ["/a/main.c", "/b/src/main.c", "/b/conf.c"];
        assert_eq!(tree(&most).as_deref(), Some("/b"));
        let mut only_debug = held(&[]);
        only_debug.debug.insert("/some/odd/path/src/main.c".into());
        assert_eq!(only_debug.tree(dir.path(), "foo"), None);
    }

    #[test]
    fn rpm_builds_in_a_folder_of_a_known_name() {
        let rpm = |path: &str| held(&[path]).rpm().map(|p| p.display().to_string());
        assert_eq!(rpm("/builddir/build/BUILD/foo-1.0/a.c").as_deref(), Some("/builddir/build/BUILD"));
        let own = "/srv/obs/rpmbuild/BUILD/foo-1.0-build";
        assert_eq!(rpm(&format!("{own}/foo-1.0/a.c")).as_deref(), Some(own));
        assert_eq!(rpm("/usr/lib/BUILD/a.c"), None);
    }
}
