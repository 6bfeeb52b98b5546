//! A command line of objcopy or strip. Options from objcopy(1) and strip(1) of GNU binutils 2.40 and LLVM's
//! manuals. Of a line with an option that is not known nothing is said.

/// What a run does, to which files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CopyLine {
    /// Options that change what is linked. Those that take debug information, notes and names of no use away
    /// are left out.
    pub(crate) options: Vec<CopyOption>,
    /// Input and output.
    pub(crate) files: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An option with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyOption {
    /// As it is spelt, `-L` or `--localize-symbol`.
    pub(crate) name: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl CopyOption {
    /// Is its value the name of a file with a list of symbols?
    pub(crate) fn names_list(&self) -> bool {
        self.name.ends_with(b"-symbols") && self.name != b"--prefix-symbols"
            || self.name == b"--redefine-syms"
    }

    /// It says how others are meant, and does nothing alone.
    fn only_helps(&self) -> bool {
        matches!(&self.name[..], b"-w" | b"--wildcard" | b"-K" | b"--keep-symbol" | b"--keep-symbols")
    }

    /// The words of it.
    pub(crate) fn words(&self) -> Vec<Vec<u8>> {
        match &self.value {
            Some(value) if self.name.starts_with(b"--") => vec![[&self.name[..], b"=", value].concat()],
            Some(value) => vec![self.name.clone(), value.clone()],
            None => vec![self.name.clone()],
        }
    }
}

/// Long options with a value.
#[rustfmt::skip]
const VALUED: &[&str] = &[
    "add-gnu-debuglink", "add-section", "add-symbol", "binary-architecture", "dump-section",
    "globalize-symbol", "globalize-symbols", "input-target", "keep-global-symbol", "keep-global-symbols",
    "keep-section", "keep-symbol", "keep-symbols", "localize-symbol", "localize-symbols", "only-section",
    "output-target", "prefix-alloc-sections", "prefix-sections", "prefix-symbols", "redefine-sym",
    "redefine-syms", "remove-relocations", "remove-section", "rename-section", "set-section-alignment",
    "set-section-flags", "set-symbol-visibility", "set-symbols-visibility", "strip-symbol", "strip-symbols",
    "strip-unneeded-symbol", "strip-unneeded-symbols", "target", "update-section", "weaken-symbol",
    "weaken-symbols",
];

/// Long options without a value that change what is linked.
const FLAGS: &[&str] = &[
    "strip-all",
    "weaken",
    "localize-hidden",
    "only-keep-debug",
    "wildcard",
    "writable-text",
    "readonly-text",
];

/// Options that take away or add only what no running program holds.
#[rustfmt::skip]
const ASIDE: &[&str] = &[
    "add-gnu-debuglink", "add-section", "compress-debug-sections", "decompress-debug-sections",
    "disable-deterministic-archives", "discard-all", "discard-locals", "dump-section",
    "enable-deterministic-archives", "keep-file-symbols", "keep-section-symbols", "merge-notes",
    "no-merge-notes", "preserve-dates", "strip-debug", "strip-dwo", "strip-unneeded", "verbose",
];

/// Sections that hold no code or data.
#[rustfmt::skip]
const NO_CONTENT: &[&str] = &[
    ".comment", ".note", ".debug", ".zdebug", ".gnu.debug", ".gnu.warning", ".gnu.glibc-stub",
    ".gnu.build.attributes", ".stab", ".GCC.",
];

/// Without one of these strip takes all symbols away.
#[rustfmt::skip]
const STRIPS: &[&str] = &[
    "-g", "-S", "-d", "-x", "-X", "-N", "--strip-debug", "--strip-unneeded", "--discard-all",
    "--discard-locals", "--strip-symbol", "--strip-symbols", "--only-keep-debug", "--strip-dwo", "-s",
    "--strip-all",
];

/// Reads the words behind the tool's name.
pub(crate) fn parse(strip: bool, words: &[Vec<u8>]) -> Option<CopyLine> {
    let mut line = CopyLine::default();
    let mut files: Vec<Vec<u8>> = Vec::new();
    let (mut output, mut kind) = (None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == b"--" {
            files.extend(words.by_ref().cloned());
        } else if word.starts_with(b"--") {
            let at = word.iter().position(|byte| *byte == b'=');
            let name = std::str::from_utf8(&word[2..at.unwrap_or(word.len())]).ok()?;
            let inside = at.map(|at| word[at + 1..].to_vec());
            let value = match (VALUED.contains(&name), inside) {
                (true, None) => Some(words.next()?.clone()),
                (_, inside) => inside,
            };
            if !VALUED.contains(&name) && !FLAGS.contains(&name) && !ASIDE.contains(&name) {
                return None;
            }
            kind |= STRIPS.contains(&format!("--{name}").as_str());
            line.add(format!("--{name}"), value);
        } else if word.len() > 1 && word[0] == b'-' {
            for (at, letter) in word.iter().enumerate().skip(1) {
                let option = format!("-{}", char::from(*letter));
                let with_value: &[u8] = if strip { b"FIOKNRo" } else { b"FIOBjRKNGLW" };
                kind |= STRIPS.contains(&option.as_str());
                if with_value.contains(letter) {
                    let rest = &word[at + 1..];
                    let value = if rest.is_empty() { words.next()?.clone() } else { rest.to_vec() };
                    if strip && option == "-o" {
                        output = Some(value);
                    } else {
                        line.add(option, Some(value));
                    }
                    break;
                }
                match letter {
                    b'g' | b'd' | b'x' | b'X' | b'p' | b'D' | b'U' | b'v' => {}
                    b'S' if strip => {}
                    b'S' | b's' => line.add("--strip-all".to_owned(), None),
                    b'w' => line.add(option, None),
                    _ => return None,
                }
            }
        } else {
            files.push(word.clone());
        }
    }
    if strip && !kind {
        line.add("--strip-all".to_owned(), None);
    }
    if line.options.iter().all(CopyOption::only_helps) {
        line.options.clear();
    }
    line.files = match (files.as_slice(), output) {
        ([input], Some(output)) => vec![(input.clone(), output)],
        ([input, output], None) if !strip => vec![(input.clone(), output.clone())],
        ([input], None) => vec![(input.clone(), input.clone())],
        (_, None) if strip => files.into_iter().map(|file| (file.clone(), file)).collect(),
        _ => return None,
    };
    Some(line)
}

impl CopyLine {
    fn add(&mut self, name: String, value: Option<Vec<u8>>) {
        let removes = matches!(name.as_str(), "-R" | "--remove-section");
        let no_content =
            |section: &[u8]| NO_CONTENT.iter().any(|start| section.starts_with(start.as_bytes()));
        let aside = name.strip_prefix("--").is_some_and(|name| ASIDE.contains(&name))
            || removes && value.as_deref().is_some_and(no_content);
        if !aside {
            self.options.push(CopyOption { name: name.into_bytes(), value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(strip: bool, text: &str) -> Option<(String, String)> {
        let words: Vec<Vec<u8>> = text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        let line = parse(strip, &words)?;
        let show = |words: Vec<Vec<u8>>| String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        let options = line.options.iter().flat_map(CopyOption::words).collect();
        Some((show(options), show(line.files.into_iter().map(|(a, b)| [a, b].join(&b'>')).collect())))
    }

    #[test]
    fn what_changes_the_program_is_kept() {
        for (strip, text, options, files) in [
            (false, "-R .comment a.o b.o", "", "a.o>b.o"),
            (
                false,
                "-gL f --redefine-sym a=b --prefix-symbols=x_ a.o",
                "-L f --redefine-sym=a=b --prefix-symbols=x_",
                "a.o>a.o",
            ),
            (false, "--rename-section .text=.x -R.data a.o", "--rename-section=.text=.x -R .data", "a.o>a.o"),
            (false, "-w --strip-unneeded --add-section .n=f a.o", "", "a.o>a.o"),
            (false, "-S -K f -w a.o", "--strip-all -K f -w", "a.o>a.o"),
            (false, "-g --keep-symbol=f a.o", "", "a.o>a.o"),
            (true, "-g a.o b.o", "", "a.o>a.o b.o>b.o"),
            (true, "--strip-unneeded -o b.o a.o", "", "a.o>b.o"),
            (true, "-R .comment a.o", "--strip-all", "a.o>a.o"),
            (true, "a.o", "--strip-all", "a.o>a.o"),
        ] {
            assert_eq!(read(strip, text), Some((options.to_owned(), files.to_owned())), "{text}");
        }
    }

    #[test]
    fn an_option_that_is_not_known_says_nothing() {
        assert_eq!(read(false, "--new-option a.o"), None);
        assert_eq!(read(false, "a.o b.o c.o"), None);
    }
}
