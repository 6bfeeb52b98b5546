//! Programs that a build compiles to learn about the system.

use std::path::Path;

use records::OsBytes;

/// Programs that configure scripts compile to learn about the system: no part of any stored. They are known
/// by their names, or by the directory that they are in or compiled in.
#[must_use]
pub fn is_probe(path: &[u8], cwd: &Path) -> bool {
    const NAMES: &[&[u8]] = &[b"conftest.", b"cmTC_", b"CMakeCCompilerId.", b"CMakeCXXCompilerId."];
    const FOLDERS: &[&[u8]] =
        &[b"/CMakeFiles/CMakeTmp/", b"/CMakeFiles/CMakeScratch/", b"/meson-private/", b"/CompilerIdC"];
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let absolute = OsBytes::from(cwd.join(OsBytes::from(path).as_path()));
    base == b"conftest"
        || NAMES.iter().any(|name| base.starts_with(name))
        || FOLDERS.iter().any(|folder| memchr::memmem::find(absolute.as_bytes(), folder).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes() {
        for (path, cwd, probe) in [
            ("conftest.c", "/b", true),
            ("conftest", "/b", true),
            ("conftests.c", "/b", false),
            ("testfile.c", "/b", false),
            ("testfile.c", "/b/meson-private/tmp1", true),
            ("sanitycheckc.c", "/b/meson-private", true),
            ("/b/CMakeFiles/CMakeTmp/x.c", "/", true),
            ("/b/CMakeFiles/prog.dir/x.c", "/b", false),
            ("CMakeCCompilerId.c", "/b", true),
        ] {
            assert_eq!(is_probe(path.as_bytes(), Path::new(cwd)), probe, "{path} in {cwd}");
        }
    }
}
