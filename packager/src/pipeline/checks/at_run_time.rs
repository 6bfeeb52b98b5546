//! Files of a fix that are read while the program runs: scripts and settings. No live patch holds them.

use crate::output::Warned;
use std::path::{Component, Path, PathBuf};

/// Extensions of what is installed as it is.
const READ_AS_IS: [&str; 24] = [
    "awk", "bash", "cfg", "conf", "css", "html", "ini", "js", "json", "lua", "mjs", "php", "pl", "pm", "py",
    "rb", "service", "sh", "sql", "tcl", "toml", "xml", "yaml", "yml",
];
/// Folders of what is not installed, or that no service reads.
const OTHER: [&str; 14] = [
    ".github",
    ".gitlab",
    "ci",
    "doc",
    "docs",
    "example",
    "examples",
    "fuzz",
    "man",
    "t",
    "test",
    "tests",
    "testsuite",
    "tools",
];

/// A warning that names those among `files`, which the fix changes (relative to the top), if there are any.
pub(in crate::pipeline) fn warning(files: &[PathBuf]) -> Option<Warned> {
    let names: Vec<String> =
        files.iter().filter(|f| is_read_as_is(f)).map(|f| f.display().to_string()).collect();
    (!names.is_empty()).then(|| Warned {
        what: "file that no live patch holds".into(),
        place: names.join(", "),
        why: "the fix changes it too; where it is installed and read as it is, processes get the new one \
         with an update of the package, not with \
              the live patch"
            .into(),
    })
}

fn is_read_as_is(file: &Path) -> bool {
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let other = |part: Component<'_>| part.as_os_str().to_str().is_some_and(|name| OTHER.contains(&name));
    // At the top of a tree, what a shell reads builds it.
    let builds = extension == "sh" && file.components().count() == 1;
    READ_AS_IS.contains(&extension)
        && !builds
        && !file.parent().into_iter().flat_map(Path::components).any(other)
        && !file.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(files: &[&str]) -> Option<String> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        warning(&files).map(|w| w.place)
    }

    #[test]
    fn scripts_and_settings_are_named() {
        let files = ["src/server.c", "share/check.py", "etc/server.conf", "README.md"];
        assert_eq!(named(&files).as_deref(), Some("share/check.py, etc/server.conf"));
    }

    #[test]
    fn what_is_not_installed_is_not() {
        let files = [
            "src/x.c",
            "x.h",
            "configure.ac",
            "tests/x.py",
            "lib/test/y.sh",
            ".travis.yml",
            "CMakeLists.txt",
            "build.sh",
        ];
        assert_eq!(named(&files), None);
    }
}
