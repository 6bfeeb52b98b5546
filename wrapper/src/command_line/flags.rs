//! Flags of the gcc and clang drivers, as far as a recorder must know them: which take an argument, which say
//! what the run is for, which write dependency files, which keep a unit out of the store. From the manuals of
//! GCC 12 ("Option Index") and Clang 14 ("Command line argument reference").

use Meaning as M;
use Takes as T;

/// How a flag takes its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// None: the word is the flag.
    Nothing,
    /// In the next word.
    Next,
    /// In the same word, perhaps empty.
    Joined,
    /// In the same word, or in the next if the word ends with the flag.
    Either,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Compile, assemble, link.
    #[default]
    Link,
    /// `-c`.
    Object,
    /// `-S`, and other options that end before an object.
    Assembly,
    /// `-E`, `-M`, a question like `--version`: nothing to record.
    Nothing,
}

/// Why the recorder cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Part of the key, otherwise of no interest.
    Plain,
    Output,
    Language,
    Stage(Stage),
    /// `-MD`, `-MMD`.
    DepWrite {
        system: bool,
    },
    /// `-MF`.
    DepFile,
    /// `-MT`, `-MQ`, `-MP`, `-MG`: about the dependency file only.
    DepDetail,
    /// A file that is read: hashed as an input.
    Reads,
    /// `-include`, `-imacros`: read, after a search.
    Includes,
    /// Matters only when linking; no objection to the store.
    Link,
    /// `-Wp,…`: words for the preprocessor.
    Preprocessor,
    /// `-Wa,…`: words for the assembler.
    Assembler,
    /// Keeps the unit out of the store.
    NoStore(&'static str),
    /// More files are written than the recorder knows of.
    SaveTemps,
}

const EXTRA_FILES: Meaning = M::NoStore("writes files other than the object");
const READS_MORE: Meaning = M::NoStore("reads files that are not in the list of inputs");

/// The longest flag that fits wins, so order does not matter; a bare family (`-f`, `-m`) takes what nothing
/// longer takes.
#[rustfmt::skip]
pub(crate) const FLAGS: &[(&str, Takes, Meaning)] = &[
    ("-o", T::Either, M::Output),
    ("--output", T::Next, M::Output),
    ("--output=", T::Joined, M::Output),
    ("-x", T::Either, M::Language),
    ("--language=", T::Joined, M::Language),
    ("-c", T::Nothing, M::Stage(Stage::Object)),
    ("-S", T::Nothing, M::Stage(Stage::Assembly)),
    ("-E", T::Nothing, M::Stage(Stage::Nothing)),
    ("-M", T::Nothing, M::Stage(Stage::Nothing)),
    ("-MM", T::Nothing, M::Stage(Stage::Nothing)),
    ("-fsyntax-only", T::Nothing, M::Stage(Stage::Nothing)),
    ("-emit-llvm", T::Nothing, M::Stage(Stage::Assembly)),
    ("-emit-ast", T::Nothing, M::Stage(Stage::Nothing)),
    ("--analyze", T::Nothing, M::Stage(Stage::Nothing)),
    ("-###", T::Nothing, M::Stage(Stage::Nothing)),
    ("--version", T::Nothing, M::Stage(Stage::Nothing)),
    ("--help", T::Joined, M::Stage(Stage::Nothing)),
    ("--target-help", T::Nothing, M::Stage(Stage::Nothing)),
    ("-print-", T::Joined, M::Stage(Stage::Nothing)),
    ("--print-", T::Joined, M::Stage(Stage::Nothing)),
    ("-dumpversion", T::Nothing, M::Stage(Stage::Nothing)),
    ("-dumpfullversion", T::Nothing, M::Stage(Stage::Nothing)),
    ("-dumpmachine", T::Nothing, M::Stage(Stage::Nothing)),
    ("-dumpspecs", T::Nothing, M::Stage(Stage::Nothing)),

    ("-MD", T::Nothing, M::DepWrite { system: true }),
    ("-MMD", T::Nothing, M::DepWrite { system: false }),
    ("-MF", T::Either, M::DepFile),
    ("-MT", T::Either, M::DepDetail),
    ("-MQ", T::Either, M::DepDetail),
    ("-MP", T::Nothing, M::DepDetail),
    ("-MG", T::Nothing, M::DepDetail),
    ("-MV", T::Nothing, M::DepDetail),
    ("-MJ", T::Either, EXTRA_FILES),

    ("-D", T::Either, M::Plain), ("-U", T::Either, M::Plain), ("-A", T::Either, M::Plain),
    ("-I", T::Either, M::Plain), ("-iquote", T::Either, M::Plain), ("-isystem", T::Either, M::Plain),
    ("-idirafter", T::Either, M::Plain), ("-iprefix", T::Either, M::Plain),
    ("-iwithprefix", T::Either, M::Plain), ("-iwithprefixbefore", T::Either, M::Plain),
    ("-isysroot", T::Either, M::Plain), ("-imultilib", T::Either, M::Plain),
    ("-imultiarch", T::Either, M::Plain),
    ("--sysroot", T::Next, M::Plain), ("--sysroot=", T::Joined, M::Plain),
    ("-include", T::Either, M::Includes), ("-imacros", T::Either, M::Includes),
    ("-include-pch", T::Next, READS_MORE),
    ("-nostdinc", T::Nothing, M::Plain), ("-nostdinc++", T::Nothing, M::Plain),
    ("-undef", T::Nothing, M::Plain),
    ("-std=", T::Joined, M::Plain), ("--std=", T::Joined, M::Plain), ("-ansi", T::Nothing, M::Plain),
    ("-pedantic", T::Joined, M::Plain), ("-w", T::Nothing, M::Plain), ("-W", T::Joined, M::Plain),
    ("-O", T::Joined, M::Plain), ("-g", T::Joined, M::Plain), ("-f", T::Joined, M::Plain),
    ("-m", T::Joined, M::Plain), ("-p", T::Nothing, M::Plain), ("-pg", T::Nothing, M::Plain),
    ("-pipe", T::Nothing, M::Plain), ("-pthread", T::Nothing, M::Plain), ("-H", T::Nothing, M::Plain),
    ("--param", T::Next, M::Plain), ("--param=", T::Joined, M::Plain), ("-trigraphs", T::Nothing, M::Plain),
    ("-Qunused-arguments", T::Nothing, M::Plain), ("-Qn", T::Nothing, M::Plain),
    ("-Qy", T::Nothing, M::Plain),
    ("-target", T::Next, M::Plain), ("--target=", T::Joined, M::Plain),
    ("-frandom-seed", T::Joined, M::Plain),

    ("-Wp,", T::Joined, M::Preprocessor), ("-Wa,", T::Joined, M::Assembler), ("-Wl,", T::Joined, M::Link),
    ("-Xpreprocessor", T::Next, READS_MORE), ("-Xassembler", T::Next, READS_MORE),
    ("-Xclang", T::Next, M::NoStore("hands flags to the compiler proper")),
    ("-mllvm", T::Next, M::Plain),
    ("-Xlinker", T::Next, M::Link), ("-l", T::Either, M::Link), ("-L", T::Either, M::Link),
    ("-T", T::Either, M::Link),
    ("-u", T::Either, M::Link), ("-z", T::Either, M::Link), ("-e", T::Either, M::Link),
    ("-s", T::Nothing, M::Link),
    ("-r", T::Nothing, M::Link), ("-rdynamic", T::Nothing, M::Link), ("-shared", T::Nothing, M::Link),
    ("-static", T::Joined, M::Link), ("-pie", T::Nothing, M::Link), ("-no-pie", T::Nothing, M::Link),
    ("-nostdlib", T::Joined, M::Link), ("-nodefaultlibs", T::Nothing, M::Link),
    ("-nostartfiles", T::Nothing, M::Link), ("-fuse-ld=", T::Joined, M::Link),
    ("--ld-path=", T::Joined, M::Link),
    ("-shared-libgcc", T::Nothing, M::Link), ("-symbolic", T::Nothing, M::Link), ("-R", T::Either, M::Link),
    ("-rpath", T::Next, M::Link), ("-h", T::Either, M::Link),

    ("-specs=", T::Joined, M::Reads), ("--specs=", T::Joined, M::Reads), ("-specs", T::Next, M::Reads),
    ("--compile", T::Nothing, M::Stage(Stage::Object)), ("--assemble", T::Nothing, M::Stage(Stage::Assembly)),
    ("--preprocess", T::Nothing, M::Stage(Stage::Nothing)),
    ("--dependencies", T::Nothing, M::Stage(Stage::Nothing)),
    ("--user-dependencies", T::Nothing, M::Stage(Stage::Nothing)),
    ("--write-dependencies", T::Nothing, M::DepWrite { system: true }),
    ("--write-user-dependencies", T::Nothing, M::DepWrite { system: false }),
    ("--language", T::Next, M::Language),
    ("--include", T::Next, M::Includes), ("--include=", T::Joined, M::Includes),
    ("--imacros", T::Next, M::Includes), ("--imacros=", T::Joined, M::Includes),
    ("--include-directory", T::Next, M::Plain), ("--include-directory=", T::Joined, M::Plain),
    ("--include-directory-after", T::Next, M::Plain), ("--include-directory-after=", T::Joined, M::Plain),
    ("--define-macro", T::Next, M::Plain), ("--define-macro=", T::Joined, M::Plain),
    ("--undefine-macro", T::Next, M::Plain), ("--undefine-macro=", T::Joined, M::Plain),
    ("--library-directory", T::Next, M::Link), ("--library-directory=", T::Joined, M::Link),
    ("--prefix", T::Next, M::NoStore("other compiler passes")), ("--prefix=", T::Joined, M::NoStore("other \
     compiler passes")),
    ("--optimize", T::Joined, M::Plain), ("--debug", T::Joined, M::Plain),
    ("--pedantic", T::Joined, M::Plain),
    ("--ansi", T::Nothing, M::Plain), ("--std", T::Next, M::Plain),
    ("--no-standard-includes", T::Nothing, M::Plain),
    ("--for-assembler", T::Next, READS_MORE), ("--for-linker", T::Next, M::Link),
    ("--for-linker=", T::Joined, M::Link),
    ("-fsanitize-blacklist=", T::Joined, M::Reads), ("-fsanitize-ignorelist=", T::Joined, M::Reads),
    ("-save-temps", T::Joined, M::SaveTemps), ("--save-temps", T::Joined, M::SaveTemps),
    ("-v", T::Nothing, M::NoStore("verbose")), ("--verbose", T::Nothing, M::NoStore("verbose")),
    ("-Q", T::Nothing, M::NoStore("verbose")), ("-time", T::Joined, M::NoStore("verbose")),
    ("-B", T::Either, M::NoStore("other compiler passes")), ("-wrapper", T::Next, M::NoStore("other compiler \
     passes")),
    ("-no-canonical-prefixes", T::Nothing, M::Plain),
    ("-b", T::Next, M::NoStore("other compiler passes")), ("-V", T::Next, M::NoStore("other compiler \
     passes")),
    ("-aux-info", T::Next, EXTRA_FILES), ("-d", T::Joined, EXTRA_FILES), ("-dumpbase", T::Next, EXTRA_FILES),
    ("-dumpdir", T::Next, EXTRA_FILES), ("-dumpbase-ext", T::Next, EXTRA_FILES),
    ("-fdump-", T::Joined, EXTRA_FILES),
    ("-gsplit-dwarf", T::Joined, EXTRA_FILES), ("-fstack-usage", T::Nothing, EXTRA_FILES),
    ("-fcallgraph-info", T::Joined, EXTRA_FILES), ("-fopt-info", T::Joined, EXTRA_FILES),
    ("-fsave-optimization-record", T::Joined, EXTRA_FILES), ("-foptimization-record", T::Joined, EXTRA_FILES),
    ("--serialize-diagnostics", T::Next, EXTRA_FILES), ("-serialize-diagnostics", T::Next, EXTRA_FILES),
    ("-fdiagnostics-format=", T::Joined, EXTRA_FILES), ("-fdiagnostics-add-output", T::Joined, EXTRA_FILES),
    ("-ftime-", T::Joined, EXTRA_FILES), ("-fmem-report", T::Joined, EXTRA_FILES),
    ("-fprofile-report", T::Nothing, EXTRA_FILES),
    ("-coverage", T::Nothing, EXTRA_FILES), ("--coverage", T::Nothing, EXTRA_FILES),
    ("-ftest-coverage", T::Nothing, EXTRA_FILES),
    ("-fprofile-", T::Joined, READS_MORE), ("-fauto-profile", T::Joined, READS_MORE),
    ("-fbranch-probabilities", T::Nothing, READS_MORE),
    ("-fcompare-debug", T::Joined, EXTRA_FILES), ("-fdebug-dump", T::Joined, EXTRA_FILES),
    ("-fplugin=", T::Joined, READS_MORE), ("-fplugin-arg-", T::Joined, M::Plain),
    ("-iplugindir=", T::Joined, READS_MORE),
    ("-fpass-plugin=", T::Joined, READS_MORE), ("-load", T::Next, READS_MORE),
    ("-fmodule", T::Joined, READS_MORE), ("-fprebuilt-", T::Joined, READS_MORE),
    ("-fimplicit-module", T::Joined, READS_MORE), ("-fpch", T::Joined, READS_MORE),
    ("-march=native", T::Nothing, M::NoStore("depends on the machine's CPU")),
    ("-mcpu=native", T::Nothing, M::NoStore("depends on the machine's CPU")),
    ("-mtune=native", T::Nothing, M::NoStore("depends on the machine's CPU")),
    ("--config", T::Either, READS_MORE),
    ("-arch", T::Next, EXTRA_FILES),
    ("--gcc-toolchain=", T::Joined, M::NoStore("other compiler passes")),
];

/// The entry for a word that starts with `-`; `None` if no flag fits.
pub(crate) fn lookup(word: &[u8]) -> Option<&'static (&'static str, Takes, Meaning)> {
    FLAGS
        .iter()
        .filter(|(name, takes, _)| match takes {
            T::Nothing | T::Next => word == name.as_bytes(),
            T::Joined | T::Either => word.starts_with(name.as_bytes()),
        })
        .max_by_key(|(name, ..)| name.len())
}

/// Language by file name ending ("Overall Options" of the GCC manual); `None`: an input for the linker.
#[rustfmt::skip]
const LANGUAGES: &[(&str, &str)] = &[
    ("c", "c"), ("i", "cpp-output"), ("ii", "c++-cpp-output"), ("cc", "c++"), ("cp", "c++"), ("cxx", "c++"),
    ("cpp", "c++"), ("CPP", "c++"), ("c++", "c++"), ("C", "c++"), ("m", "objective-c"),
    ("mi", "objective-c-cpp-output"),
    ("mm", "objective-c++"), ("M", "objective-c++"), ("mii", "objective-c++-cpp-output"),
    ("h", "c-header"), ("hh", "c++-header"), ("hpp", "c++-header"), ("H", "c++-header"),
    ("hxx", "c++-header"),
    ("s", "assembler"), ("S", "assembler-with-cpp"), ("sx", "assembler-with-cpp"),
    ("f", "f77"), ("for", "f77"), ("ftn", "f77"), ("F", "f77-cpp-input"), ("FOR", "f77-cpp-input"),
    ("fpp", "f77-cpp-input"),
    ("f90", "f95"), ("f95", "f95"), ("f03", "f95"), ("f08", "f95"), ("F90", "f95-cpp-input"),
    ("F95", "f95-cpp-input"),
    ("F03", "f95-cpp-input"), ("F08", "f95-cpp-input"), ("go", "go"), ("d", "d"), ("adb", "ada"),
    ("ads", "ada"),
    ("ll", "ir"), ("bc", "ir"),
];

pub(crate) fn language_of(file: &[u8]) -> Option<&'static str> {
    let base = file.rsplit(|byte| *byte == b'/').next()?;
    let dot = base.iter().rposition(|byte| *byte == b'.')?;
    LANGUAGES.iter().find(|(ending, _)| ending.as_bytes() == &base[dot + 1..]).map(|(_, language)| *language)
}
