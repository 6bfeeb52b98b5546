//! A linker's command line. Options from ld(1) of GNU binutils 2.40 and the manuals of gold and lld; all take
//! one or two dashes alike, except those that begin with `o`.

use std::path::Path;

use crate::base::paths::below;
use records::OsBytes;

/// An input, or `-l NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkFile {
    /// File name, or the name of the library.
    pub(crate) name: Vec<u8>,
    pub(crate) library: bool,
    /// `-Bstatic` was in force.
    pub(crate) only_static: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LinkLine {
    pub(crate) files: Vec<LinkFile>,
    pub(crate) output: Vec<u8>,
    pub(crate) map: Option<Vec<u8>>,
    /// `-M`: the map goes to standard output.
    pub(crate) prints_map: bool,
    pub(crate) relocatable: bool,
    pub(crate) shared: bool,
    pub(crate) plugin: bool,
    /// `--version` and the like.
    pub(crate) question: bool,
    dirs: Vec<Vec<u8>>,
}

/// Options whose argument is the next word, without dashes.
#[rustfmt::skip]
const WITH_ARGUMENT: &[&str] = &[
    "a", "A", "architecture", "audit", "b", "format", "c", "mri-script", "defsym", "dynamic-linker",
    "dynamic-list", "export-dynamic-symbol", "export-dynamic-symbol-list", "e", "entry", "f", "auxiliary",
    "F", "filter", "fini", "G", "gpsize", "h", "soname", "I", "init", "just-symbols", "m", "O-", "P",
    "depaudit", "plugin", "plugin-opt", "R", "rpath", "rpath-link", "retain-symbols-file", "section-start",
    "sysroot", "T", "script", "dT", "default-script", "Tbss", "Tdata", "Ttext", "Ttext-segment",
    "Trodata-segment", "Tldata-segment", "u", "undefined", "require-defined", "version-script", "wrap", "y",
    "trace-symbol", "Y", "z", "assert", "hash-style", "dependency-file", "ignore-unresolved-symbol",
    "image-base", "oformat", "output-format", "out-implib", "exclude-libs", "build-id-", "max-cache-size",
    "section-ordering-file", "symbol-ordering-file", "thread-count", "remap-inputs", "remap-inputs-file",
];

impl LinkLine {
    pub(crate) fn parse(words: &[Vec<u8>]) -> Self {
        let mut line = Self { output: b"a.out".to_vec(), ..Self::default() };
        let mut only_static = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word.first() != Some(&b'-') || word.len() == 1 {
                line.files.push(LinkFile { name: word.clone(), library: false, only_static });
                continue;
            }
            let option = word.strip_prefix(b"--").unwrap_or(&word[1..]);
            match option {
                b"o" | b"output" => line.output = words.next().cloned().unwrap_or_default(),
                b"L" | b"library-path" => line.dirs.extend(words.next().cloned()),
                b"l" | b"library" => {
                    let name = words.next().cloned().unwrap_or_default();
                    line.files.push(LinkFile { name, library: true, only_static });
                }
                b"Map" => line.map = words.next().cloned(),
                b"M" | b"print-map" => line.prints_map = true,
                b"r" | b"relocatable" | b"i" | b"Ur" => line.relocatable = true,
                b"shared" | b"Bshareable" | b"G" => line.shared = true,
                b"static" | b"Bstatic" | b"dn" | b"non_shared" => only_static = true,
                b"Bdynamic" | b"dy" | b"call_shared" => only_static = false,
                b"version" | b"help" | b"target-help" | b"print-output-format" | b"print-sysroot" => {
                    line.question = true
                }
                _ => line.other(word, option, only_static, &mut words),
            }
        }
        line
    }

    fn other<'a>(
        &mut self,
        word: &[u8],
        option: &[u8],
        only_static: bool,
        words: &mut impl Iterator<Item = &'a Vec<u8>>,
    ) {
        let single = !word.starts_with(b"--");
        let value = |name: &[u8]| option.strip_prefix(name).map(<[u8]>::to_vec);
        if option.starts_with(b"plugin") {
            self.plugin = true;
        }
        if let Some(map) = value(b"Map=") {
            self.map = Some(map);
        } else if let Some(output) =
            value(b"output=").or_else(|| value(b"o").filter(|_| single && option != b"oformat"))
        {
            // `-omagic` is an option to GNU ld only with two dashes.
            self.output = output;
        } else if let Some(dir) = value(b"library-path=").or_else(|| value(b"L").filter(|_| single)) {
            self.dirs.push(dir);
        } else if let Some(name) = value(b"library=").or_else(|| value(b"l").filter(|_| single)) {
            self.files.push(LinkFile { name, library: true, only_static });
        } else if WITH_ARGUMENT.iter().any(|name| name.as_bytes() == option) {
            let _ = words.next();
        }
    }

    /// The file that an input names, spelt as the linker spells it in its map; `None` if there is none.
    pub(crate) fn find(&self, file: &LinkFile, cwd: &Path) -> Option<OsBytes> {
        if !file.library {
            return below(cwd, &file.name).is_file().then(|| file.name.as_slice().into());
        }
        let names = match (file.name.strip_prefix(b":"), file.only_static) {
            (Some(exact), _) => vec![exact.to_vec()],
            (None, true) => vec![[b"lib", &file.name[..], b".a"].concat()],
            (None, false) => {
                ["so", "a"].map(|ending| [b"lib", &file.name[..], b".", ending.as_bytes()].concat()).to_vec()
            }
        };
        let system: [&[u8]; 4] = [b"/lib64", b"/usr/lib64", b"/lib", b"/usr/lib"];
        self.dirs.iter().map(Vec::as_slice).chain(system).find_map(|dir| {
            let dir = dir.strip_suffix(b"/").unwrap_or(dir);
            names
                .iter()
                .map(|name| [dir, b"/", name].concat())
                .find(|path| below(cwd, path).is_file())
                .map(OsBytes::from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let words: Vec<Vec<u8>> = "-plugin p.so -plugin-opt=x --build-id -m elf_x86_64 --hash-style=gnu \
         -dynamic-linker \
             /lib64/ld.so -pie -o prog crt1.o -L/lib -L lib2 a.o -Bstatic -lfoo -Bdynamic -l bar --as-needed \
             -z now -T s.ld b.o -ofinal"
            .split_whitespace()
            .map(|word| word.as_bytes().to_vec())
            .collect();
        let line = LinkLine::parse(&words);
        let names: Vec<_> =
            line.files.iter().map(|it| String::from_utf8_lossy(&it.name).into_owned()).collect();
        assert_eq!(names, ["crt1.o", "a.o", "foo", "bar", "b.o"]);
        assert!(line.files[2].only_static && !line.files[3].only_static && line.files[3].library);
        assert_eq!(line.output, b"final");
        assert_eq!(line.dirs, [b"/lib".to_vec(), b"lib2".to_vec()]);
        assert!(line.plugin && !line.question && line.map.is_none());
    }
}
