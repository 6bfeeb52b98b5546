//! A driver's command line, taken apart with the table of [`crate::command_line::flags`].

use std::path::Path;

use crate::command_line::flags::{self, Meaning, Stage, Takes};
use records::OsBytes;

/// One word, or a flag with the word that is its argument.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) meaning: Kind,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Flag(Meaning),
    /// A flag that is not in the table.
    Unknown,
    /// Number in [`CommandLine::sources`].
    Source(usize),
    /// An object, archive or linker script.
    LinkInput,
}

/// A file to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// As given; `-` for standard input.
    pub(crate) name: Vec<u8>,
    /// In the words of `-x`.
    pub(crate) language: String,
}

/// A command line understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandLine {
    pub(crate) items: Vec<Item>,
    pub(crate) stage: Stage,
    pub(crate) output: Option<Vec<u8>>,
    pub(crate) sources: Vec<Source>,
    /// `-MD` (`Some(true)`) or `-MMD` (`Some(false)`).
    pub(crate) writes_deps: Option<bool>,
    pub(crate) dep_file: Option<Vec<u8>>,
    /// Files named by flags that are inputs of the unit.
    pub(crate) reads: Vec<Vec<u8>>,
    /// Operands of `-include` and `-imacros`.
    pub(crate) includes: Vec<Vec<u8>>,
    /// Why a result of this command line must not go into the store.
    pub(crate) no_store: Option<String>,
    pub(crate) save_temps: bool,
    pub(crate) lto: bool,
    /// The driver is for C++.
    is_cxx: bool,
}

/// `g++` and `clang++`, under whatever further name.
fn is_cxx(driver: &[u8], args: &[Vec<u8>]) -> bool {
    let name = driver.rsplit(|byte| *byte == b'/').next().unwrap_or(driver);
    memchr::memmem::find(name, b"++").is_some() || args.iter().any(|word| word == b"--driver-mode=g++")
}

/// What a driver for C++ takes a C source for.
fn as_cxx(language: &str) -> &str {
    match language {
        "c" => "c++",
        "cpp-output" => "c++-cpp-output",
        "c-header" => "c++-header",
        other => other,
    }
}

impl CommandLine {
    /// Takes a command line apart. `args` are the words after the driver's name, response files expanded.
    pub(crate) fn parse(driver: &[u8], args: &[Vec<u8>]) -> Self {
        let mut line = Self { is_cxx: is_cxx(driver, args), ..Self::default() };
        let mut language: Option<String> = None;
        let mut only_files = false;
        let mut words = args.iter();
        while let Some(word) = words.next() {
            if only_files || word.first() != Some(&b'-') || word == b"-" {
                line.file(word, language.as_deref());
                continue;
            }
            if word == b"--" {
                only_files = true;
                line.items.push(Item { words: vec![word.clone()], meaning: Kind::Flag(Meaning::Plain) });
                continue;
            }
            let Some(&(name, takes, meaning)) = flags::lookup(word) else {
                line.refuse(&format!("flag {} is not known", String::from_utf8_lossy(word)));
                line.items.push(Item { words: vec![word.clone()], meaning: Kind::Unknown });
                continue;
            };
            let rest = &word[name.len()..];
            let next = match takes {
                Takes::Next => words.next(),
                Takes::Either if rest.is_empty() => words.next(),
                _ => None,
            };
            let value = next.map_or(rest, Vec::as_slice).to_vec();
            if meaning == Meaning::Language {
                language = (value != b"none").then(|| String::from_utf8_lossy(&value).into_owned());
            }
            line.flag(meaning, &value, word);
            let mut item = vec![word.clone()];
            item.extend(next.cloned());
            line.items.push(Item { words: item, meaning: Kind::Flag(meaning) });
        }
        line
    }

    /// Whether a flag that is only part of the key names a file, whose contents are not.
    pub(crate) fn names_a_file(&self, cwd: &Path) -> bool {
        let plain = self.items.iter().filter(|item| item.meaning == Kind::Flag(Meaning::Plain));
        let words = plain
            .flat_map(|item| &item.words)
            .filter(|word| word.starts_with(b"-f") || word.starts_with(b"-m") || word.starts_with(b"--"));
        let mut values = words.flat_map(|word| word.split(|byte| matches!(byte, b'=' | b',')).skip(1));
        values.any(|value| !value.is_empty() && cwd.join(OsBytes::from(value).as_path()).is_file())
    }

    /// What the command line adds to the text.
    pub(crate) fn definitions(&self) -> Vec<u8> {
        self.items
            .iter()
            .filter(|item| item.words[0].starts_with(b"-D"))
            .flat_map(|item| item.words.join(&b' '))
            .collect()
    }

    fn refuse(&mut self, why: &str) {
        self.no_store.get_or_insert_with(|| why.to_owned());
    }

    fn file(&mut self, word: &[u8], language: Option<&str>) {
        let by_name = || {
            let language = flags::language_of(word).filter(|_| word != b"-")?;
            Some(if self.is_cxx { as_cxx(language) } else { language })
        };
        let language = language.or_else(by_name).map(str::to_owned);
        let meaning = match language {
            Some(language) => {
                self.sources.push(Source { name: word.to_vec(), language });
                Kind::Source(self.sources.len() - 1)
            }
            None => Kind::LinkInput,
        };
        self.items.push(Item { words: vec![word.to_vec()], meaning });
    }

    fn flag(&mut self, meaning: Meaning, value: &[u8], word: &[u8]) {
        match meaning {
            Meaning::Output => self.output = Some(value.to_vec()),
            Meaning::Stage(stage) => self.stage = self.stage.max(stage),
            Meaning::DepWrite { system } => self.writes_deps = Some(system),
            Meaning::DepFile => self.dep_file = Some(value.to_vec()),
            Meaning::Reads => {
                if value.contains(&b'/') {
                    self.reads.push(value.to_vec());
                } else {
                    self.refuse("a file that the driver looks for on its own");
                }
            }
            Meaning::Includes => self.includes.push(value.to_vec()),
            Meaning::Preprocessor => self.preprocessor(value),
            Meaning::Assembler => {
                let harmless = value.split(|b| *b == b',').all(|word| {
                    word.starts_with(b"--") && !word.starts_with(b"--MD") && !word.starts_with(b"--li")
                        || word.starts_with(b"-m")
                        || word == b"-g"
                });
                if !harmless {
                    self.refuse("assembler flags");
                }
            }
            Meaning::NoStore(why) => {
                self.refuse(&format!("{}: {why}", String::from_utf8_lossy(word)));
            }
            Meaning::SaveTemps => {
                self.save_temps = true;
                self.refuse("-save-temps");
            }
            Meaning::Plain if word.starts_with(b"-flto") => self.lto = true,
            Meaning::Plain if word == b"-fno-lto" => self.lto = false,
            _ => {}
        }
    }

    /// `-Wp,-MD,FILE` and `-Wp,-D_FORTIFY_SOURCE=2` are common; others are not understood.
    fn preprocessor(&mut self, value: &[u8]) {
        let mut words = value.split(|byte| *byte == b',');
        while let Some(word) = words.next() {
            match word {
                b"-MD" | b"-MMD" => {
                    self.writes_deps = Some(word == b"-MD");
                    if let Some(file) = words.next() {
                        self.dep_file = Some(file.to_vec());
                    }
                }
                b"-MF" => self.dep_file = words.next().map(<[u8]>::to_vec),
                b"-MT" | b"-MQ" => drop(words.next()),
                b"-MP" | b"-MG" => {}
                _ if word.starts_with(b"-D") || word.starts_with(b"-U") => {}
                _ => self.refuse("preprocessor flags"),
            }
        }
    }

    /// The object that the driver writes for a source: the output, or the source's base name with `.o`.
    pub(crate) fn object_of(&self, source: &Source) -> Vec<u8> {
        if let (Some(output), Stage::Object) = (&self.output, self.stage) {
            return output.clone();
        }
        let base = source.name.rsplit(|byte| *byte == b'/').next().unwrap_or(&source.name);
        let stem = base.iter().rposition(|byte| *byte == b'.').map_or(base, |dot| &base[..dot]);
        [stem, b".o"].concat()
    }

    /// The dependency file that `-MD`/`-MMD` writes, as far as it is plain where; `None` otherwise.
    pub(crate) fn dep_file_of(&self, source: &Source) -> Option<Vec<u8>> {
        self.writes_deps?;
        if let Some(file) = &self.dep_file {
            return Some(file.clone());
        }
        let object = self.object_of(source);
        let slash = object.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let stem =
            object[slash..].iter().rposition(|byte| *byte == b'.').map_or(object.len(), |dot| slash + dot);
        Some([&object[..stem], b".d"].concat())
    }

    /// The words that compile one of the sources alone, without output, stage and dependency flags; `extra`
    /// goes at the end, where it wins over earlier flags.
    pub(crate) fn words_for(&self, source: &Source, extra: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let first = self.sources.iter().position(|it| it == source);
        self.words_of(|number| Some(number) == first, extra)
    }

    /// The words for all sources at once: the sources of link-time optimisation make one object.
    pub(crate) fn words_for_all(&self, extra: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.words_of(|_| true, extra)
    }

    fn words_of(&self, chosen: impl Fn(usize) -> bool, extra: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        let mut files = Vec::new();
        for item in &self.items {
            match item.meaning {
                Kind::LinkInput
                | Kind::Flag(
                    Meaning::Output
                    | Meaning::Stage(_)
                    | Meaning::DepWrite { .. }
                    | Meaning::DepFile
                    | Meaning::DepDetail
                    | Meaning::SaveTemps,
                ) => {}
                Kind::Source(number) => {
                    // `-x` holds for the files that follow it, so it is repeated for this file.
                    if chosen(number) {
                        let source = &self.sources[number];
                        files.extend([b"-x".to_vec(), source.language.clone().into_bytes()]);
                        // A source whose name begins with a dash.
                        if source.name.first() == Some(&b'-') && source.name != b"-" {
                            files.push(b"--".to_vec());
                        }
                        files.push(source.name.clone());
                    }
                }
                Kind::Flag(Meaning::Language) => {}
                Kind::Flag(Meaning::Preprocessor) => words.extend(without_dep_words(&item.words[0])),
                Kind::Flag(_) if item.words[0] == b"--" => {}
                Kind::Flag(_) | Kind::Unknown => words.extend(item.words.iter().cloned()),
            }
        }
        words.extend(extra.iter().cloned());
        words.extend(files);
        words
    }
}

fn without_dep_words(word: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut words = word.split(|byte| *byte == b',').skip(1);
    while let Some(word) = words.next() {
        match word {
            b"-MD" | b"-MMD" | b"-MF" | b"-MT" | b"-MQ" => drop(words.next()),
            b"-MP" | b"-MG" => {}
            _ => kept.push(word),
        }
    }
    (!kept.is_empty()).then(|| [b"-Wp,".as_slice(), &kept.join(&b","[..])].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> CommandLine {
        let words: Vec<Vec<u8>> = text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        CommandLine::parse(b"/usr/bin/gcc", &words)
    }

    #[test]
    fn a_driver_for_cxx_takes_c_sources_for_cxx() {
        let languages = |driver: &str, text: &str| {
            let words: Vec<Vec<u8>> = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            let line = CommandLine::parse(driver.as_bytes(), &words);
            line.sources.into_iter().map(|source| source.language).collect::<Vec<_>>()
        };
        let text = "-c a.c b.i c.s -x c d.c -x none e.h f.cc";
        let cxx = ["c++", "c++-cpp-output", "assembler", "c", "c++-header", "c++"];
        for driver in ["g++", "/usr/bin/x86_64-linux-gnu-g++-12", "clang++-14", "c++"] {
            assert_eq!(languages(driver, text), cxx, "{driver}");
        }
        assert_eq!(
            languages("/opt/c++/bin/gcc", text),
            ["c", "cpp-output", "assembler", "c", "c-header", "c++"]
        );
        assert_eq!(languages("clang", "--driver-mode=g++ -c a.c"), ["c++"]);
    }

    #[test]
    fn stages() {
        for (text, stage, sources) in [
            ("-c a.c", Stage::Object, 1),
            ("-c a.c b.c", Stage::Object, 2),
            ("a.c b.o -o prog -lfoo", Stage::Link, 1),
            ("a.o -o prog", Stage::Link, 0),
            ("-E -c a.c", Stage::Nothing, 1),
            ("-M a.c", Stage::Nothing, 1),
            ("-S a.c", Stage::Assembly, 1),
            ("-print-prog-name=as", Stage::Nothing, 0),
            ("-x c - -c -o a.o", Stage::Object, 1),
            ("-x c a.txt -x none b.o", Stage::Link, 1),
            ("-c -- a.c", Stage::Object, 1),
            ("-c -I inc -D X=1 -include pre.h a.c", Stage::Object, 1),
        ] {
            let line = parse(text);
            assert_eq!((line.stage, line.sources.len()), (stage, sources), "{text}");
        }
    }

    #[test]
    fn outputs() {
        for (text, object, deps) in [
            ("-c src/a.c", "a.o", None),
            ("-c src/a.c -oout/b.o -MD", "out/b.o", Some("out/b.d")),
            ("-c a.c -MMD -MF x.d -MT t -o a.o", "a.o", Some("x.d")),
            ("-c a.c -Wp,-MD,dep/a.d -o a.o", "a.o", Some("dep/a.d")),
            ("-c a.tar.c -MD", "a.tar.o", Some("a.tar.d")),
        ] {
            let line = parse(text);
            let source = &line.sources[0];
            assert_eq!(line.object_of(source), object.as_bytes(), "{text}");
            assert_eq!(line.dep_file_of(source).as_deref(), deps.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn one_source_alone() {
        let line = parse("-O2 -MD -MF x.d a.c -x c++ b.txt c.o -o prog -Wp,-MD,f,-DX -lm");
        let words = line.words_for(&line.sources[1], &[b"-M".to_vec()]);
        let text: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert_eq!(text, ["-O2", "-Wp,-DX", "-lm", "-M", "-x", "c++", "b.txt"]);
    }

    #[test]
    fn store_refusals() {
        for (text, refused) in [
            ("-c a.c -O2 -g -Wall -fPIC -m64 -std=gnu99 -pipe -pthread -Iinc", false),
            ("-c a.c -specs=/usr/lib/rpm/redhat/redhat-hardened-cc1", false),
            ("-c a.c -Wp,-D_FORTIFY_SOURCE=2 -Wa,--noexecstack", false),
            ("-c a.c -frobnicate-me-not --unknown", true),
            ("-c a.c -fprofile-use", true),
            ("-c a.c -fplugin=x.so", true),
            ("-c a.c --coverage", true),
            ("-c a.c -gsplit-dwarf", true),
            ("-c a.c -Wa,-ahl=x.lst", true),
            ("-c a.c -save-temps", true),
            ("-c a.c -march=native", true),
        ] {
            assert_eq!(parse(text).no_store.is_some(), refused, "{text}");
        }
    }
}
