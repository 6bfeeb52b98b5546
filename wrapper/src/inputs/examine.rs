//! The inputs of a unit: the files it was made from, and the files whose *absence* it was made from. A header
//! that appears earlier on the include path, or one that `__has_include` asked for, changes the result
//! although no file that was read has changed.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::files::Scratch;
use crate::base::{env, streams};
use crate::command_line::driver::{CommandLine, Source};
use crate::inputs::absent::{Absences, Collector, Listings};
use crate::inputs::dep_file;
use crate::inputs::scan::{self, Operand};
use crate::inputs::search::SearchPath;
use crate::record::recorder::Recorder;
use crate::record::unit::Dep;
use crate::tools::names::Tool;
use records::OsBytes;

/// Lets the preprocessor list the headers in a run of its own.
pub(crate) fn ask_compiler(
    real: &Path,
    line: &CommandLine,
    source: &Source,
    recorder: &Recorder,
) -> Result<Vec<Vec<u8>>, String> {
    let path = recorder.absolute(&source.name);
    let names = line.includes.iter().chain(&line.reads);
    let pipe = names.map(|name| recorder.absolute(name)).find(|path| streams::is_stream(path));
    if streams::descriptor(&source.name).is_some() || streams::is_stream(&path) || pipe.is_some() {
        return Err("an input is a pipe, which was read already".to_owned());
    }
    let list =
        Scratch::new(&recorder.session.scratch_dir(), "list").ok_or("there is no place for the list")?;
    let mut extra = vec![b"-M".to_vec(), b"-MF".to_vec()];
    extra.push(OsBytes::from(list.path()).as_bytes().to_vec());
    let mut command = Command::new(real);
    let words = line.words_for(source, &extra);
    command.args(words.iter().map(|word| OsBytes::from(word.as_slice()).as_os_str().to_owned()));
    command.env(env::ACTIVE, "1").current_dir(&recorder.cwd).env("PWD", &recorder.cwd);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for name in env::DEPENDENCY_OUTPUT {
        command.env_remove(name);
    }
    let status = command.status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the compiler could not list them ({status})"));
    }
    fs::read(list.path()).map(|text| dep_file::prerequisites(&text)).map_err(|error| error.to_string())
}

/// What the store must know of a unit beyond its inputs' hashes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExaminedInputs {
    /// Must still be missing.
    pub(crate) absent: Absences,
    /// Must still be there, whatever they hold.
    pub(crate) present: Vec<OsBytes>,
    /// Result depends on the time of day: good for this session only.
    pub(crate) timed: bool,
}

impl ExaminedInputs {
    pub(crate) fn notes(&self) -> Option<String> {
        self.timed.then(|| "uses __DATE__, __TIME__ or __TIMESTAMP__".to_owned())
    }
}

/// Why the list may lack an input, or hold one that is not what the compiler read. `told`: the assembler
/// listed what it reads.
pub(crate) fn untracked(recorder: &Recorder, deps: &[Dep], told: bool) -> Option<String> {
    deps.iter().find_map(|dep| {
        let path = dep.path.as_path();
        if recorder.changed_meanwhile(path) {
            return Some(format!("{} changed while it was compiled", path.display()));
        }
        let text = if told { Vec::new() } else { fs::read(path).unwrap_or_default() };
        scan::unlisted(&text).map(|why| format!("{}: {why}", path.display()))
    })
}

/// Precompiled headers that may have been read in the place of a header. A compiler lists neither them nor
/// what they were made from. Only the first header of a unit can be a precompiled one (GCC manual, "Using
/// Precompiled Headers"); here each that the command line or the source itself names counts.
pub(crate) fn precompiled(
    recorder: &Recorder,
    real: &Path,
    line: &CommandLine,
    source: &Source,
) -> Option<Vec<PathBuf>> {
    if source.language.starts_with("assembler") || source.language.ends_with("cpp-output") {
        return None;
    }
    let search = SearchPath::of(recorder, real, line, source)?;
    let mut examined = Vec::new();
    for (operand, folder) in named_headers(recorder, line, source) {
        for dir in places(&search, &operand, &folder) {
            let header = dir.join(OsBytes::from(operand.name.as_slice()).as_path());
            for ending in PRECOMPILED {
                let candidate = with_ending(&header, ending);
                if candidate.is_file() {
                    examined.push(candidate);
                } else if let Ok(entries) = fs::read_dir(&candidate) {
                    examined.extend(entries.flatten().map(|entry| entry.path()));
                }
            }
            if header.is_file() && !operand.next {
                break;
            }
        }
    }
    Some(examined)
}

/// Endings of precompiled headers: gcc's, and clang's, which knows both.
const PRECOMPILED: [&str; 2] = [".gch", ".pch"];

fn with_ending(header: &Path, ending: &str) -> PathBuf {
    let mut name = header.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The headers that the command line and the source's own text name, each with the folder that is searched
/// first.
fn named_headers(recorder: &Recorder, line: &CommandLine, source: &Source) -> Vec<(Operand, PathBuf)> {
    let given = |name: &Vec<u8>| Operand { name: name.clone(), quoted: true, next: false };
    let mut named: Vec<_> = line.includes.iter().map(|name| (given(name), recorder.cwd.clone())).collect();
    let path = recorder.absolute(&source.name);
    if streams::descriptor(&source.name).is_none() && !streams::is_stream(&path) {
        let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let text = fs::read(&path).unwrap_or_default();
        named.extend(scan::scan(&text).includes.into_iter().map(|operand| (operand, folder.clone())));
    }
    named
}

/// Where the compiler looks, in order.
fn places(search: &SearchPath, operand: &Operand, folder: &Path) -> Vec<PathBuf> {
    let own = operand.quoted.then(|| folder.to_path_buf());
    own.into_iter().chain(search.dirs(operand.quoted).map(Path::to_path_buf)).collect()
}

/// Looks into every input. `Err` says why the result cannot be kept. `told`: the assembler listed what it
/// reads.
pub(crate) fn examine(
    recorder: &Recorder,
    family: Tool,
    real: &Path,
    line: &CommandLine,
    source: &Source,
    deps: &[Dep],
    told: bool,
) -> Result<ExaminedInputs, String> {
    let preprocessed = source.language != "assembler" && !source.language.ends_with("cpp-output");
    let search = if preprocessed {
        SearchPath::of(recorder, real, line, source).ok_or("the compiler does not tell its include path")?
    } else {
        SearchPath::default()
    };
    let mut look = Look {
        search: &search,
        deps: deps.iter().map(|dep| dep.path.as_path()).collect(),
        seen: HashSet::new(),
        listings: Listings::default(),
        absent: Collector::default(),
        present: BTreeSet::new(),
    };
    for dir in &search.missing {
        look.must_stay_missing(Path::new("/"), dir.as_path());
    }
    let (mut date, mut timestamp, mut computed) = (false, false, false);
    let definitions = line.definitions();
    let defined = scan::scan(&definitions);
    if !defined.has_includes.is_empty() || defined.opaque.is_some() {
        return Err("the command line brings in a question for files".to_owned());
    }
    if let Some(why) = scan::unlisted(&definitions).filter(|_| !told) {
        return Err(format!("command line: {why}"));
    }
    date |= defined.date;
    timestamp |= defined.timestamp;
    for dep in deps {
        let path = dep.path.as_path();
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if let Some(why) = scan::unlisted(&text).filter(|_| !told) {
            return Err(format!("{}: {why}", path.display()));
        }
        let examined = scan::scan(&text);
        if let Some(why) = examined.opaque {
            return Err(format!("{}: {why}", path.display()));
        }
        date |= examined.date;
        timestamp |= examined.timestamp;
        computed |= examined.computed_include;
        let folder = path.parent().unwrap_or(Path::new("/"));
        examined.includes.iter().for_each(|operand| look.include(operand, folder));
        examined.has_includes.iter().for_each(|operand| look.has_include(operand, folder));
        look.precompiled(path)?;
    }
    for name in &line.reads {
        // A specs file may name further files, and add options.
        let text = fs::read(recorder.absolute(name)).unwrap_or_default();
        if [&b"%include"[..], b"-include", b"-imacros", b"-specs", b"-fplugin=/"]
            .iter()
            .any(|word| memchr::memmem::find(&text, word).is_some())
        {
            return Err(format!("{}: reads more files", String::from_utf8_lossy(name)));
        }
    }
    for (operand, folder) in if preprocessed { named_headers(recorder, line, source) } else { Vec::new() } {
        look.include(&operand, &folder);
        look.no_precompiled(&operand, &folder)?;
    }
    if computed {
        look.by_prefix();
    }
    // GCC's manual: with SOURCE_DATE_EPOCH, __DATE__ and __TIME__ are fixed. clang has that from version 16
    // only.
    let fixed = family == Tool::Gcc && std::env::var_os("SOURCE_DATE_EPOCH").is_some();
    Ok(ExaminedInputs {
        absent: look.absent.finish(),
        present: look.present.into_iter().collect(),
        timed: timestamp || (date && !fixed),
    })
}

struct Look<'a> {
    search: &'a SearchPath,
    deps: HashSet<&'a Path>,
    seen: HashSet<(Option<PathBuf>, Operand)>,
    listings: Listings,
    absent: Collector,
    present: BTreeSet<OsBytes>,
}

impl Look<'_> {
    /// False if this operand was looked at before.
    fn first_time(&mut self, operand: &Operand, folder: &Path) -> bool {
        self.seen.insert((operand.quoted.then(|| folder.to_path_buf()), operand.clone()))
    }

    /// A precompiled header on the way to a header, and at its place, would be read instead of it.
    fn no_precompiled(&mut self, operand: &Operand, folder: &Path) -> Result<(), String> {
        let name = OsBytes::from(operand.name.as_slice());
        for dir in places(self.search, operand, folder) {
            for ending in PRECOMPILED {
                match self.listings.missing_part(&dir, &with_ending(name.as_path(), ending)) {
                    Some(part) => self.absent.add(part),
                    None => return Err(format!("{}{ending}: precompiled header", name.to_string_lossy())),
                }
            }
            if dir.join(name.as_path()).is_file() && !operand.next {
                break;
            }
        }
        Ok(())
    }

    fn must_stay_missing(&mut self, dir: &Path, name: &Path) {
        if let Some(part) = self.listings.missing_part(dir, name) {
            self.absent.add(part);
        }
    }

    /// All places before the one where the file was found must stay empty. A file that was not found at all
    /// was not asked for: the directive was not reached, and whether it is depends on files that were read.
    fn include(&mut self, operand: &Operand, folder: &Path) {
        if !self.first_time(operand, folder) {
            return;
        }
        let name = OsBytes::from(operand.name.as_slice());
        let mut before: Vec<(PathBuf, OsString)> = Vec::new();
        for dir in places(self.search, operand, folder) {
            if let Some(part) = self.listings.missing_part(&dir, name.as_path()) {
                before.push(part);
                continue;
            }
            // A directory of that name is passed over by the compiler, and here.
            if dir.join(name.as_path()).is_dir() {
                continue;
            }
            before.drain(..).for_each(|part| self.absent.add(part));
            if !operand.next {
                return;
            }
        }
    }

    fn has_include(&mut self, operand: &Operand, folder: &Path) {
        let name = OsBytes::from(operand.name.as_slice());
        for dir in places(self.search, operand, folder) {
            match self.listings.missing_part(&dir, name.as_path()) {
                Some(part) => self.absent.add(part),
                None => {
                    self.present.insert(dir.join(name.as_path()).into());
                    if !operand.next {
                        return;
                    }
                }
            }
        }
    }

    /// A precompiled header beside a header would be read in its place.
    fn precompiled(&mut self, header: &Path) -> Result<(), String> {
        let (Some(folder), Some(name)) = (header.parent(), header.file_name()) else { return Ok(()) };
        if header.starts_with("/usr") {
            return Ok(());
        }
        for ending in PRECOMPILED {
            let name = with_ending(Path::new(name), ending);
            match self.listings.missing_part(folder, &name) {
                Some(part) => self.absent.add(part),
                None => return Err(format!("{}{ending}: precompiled header", header.display())),
            }
        }
        Ok(())
    }

    /// For operands that are macros: every file that was read is taken as if it had been asked for by the
    /// rest of its name below a directory of the path, or by its bare name beside any file that was read.
    fn by_prefix(&mut self) {
        let dirs: Vec<PathBuf> = self.search.dirs(true).map(Path::to_path_buf).collect();
        let deps: Vec<PathBuf> = self.deps.iter().map(|dep| dep.to_path_buf()).collect();
        let folders: BTreeSet<&Path> = deps.iter().filter_map(|dep| dep.parent()).collect();
        for dep in &deps {
            for (number, dir) in dirs.iter().enumerate() {
                if let Ok(rest) = dep.strip_prefix(dir) {
                    dirs[..number].iter().for_each(|earlier| self.must_stay_missing(earlier, rest));
                }
            }
            if let Some(name) = dep.file_name() {
                folders.iter().for_each(|folder| self.must_stay_missing(folder, Path::new(name)));
            }
        }
    }
}
