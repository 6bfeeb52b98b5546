//! Objects, compiled by the lines that Kbuild compiles them with.
//!
//! `make X.o` makes what the object needs, the object of the shipped source itself, and notes its line in
//! `.X.o.cmd`; once for each object, in the prepared tree. The same line with another output then compiles
//! the patched source. What Kbuild runs after the compiler (objtool) is put off: its tables are made when the
//! module is linked.

use super::source::run;
use super::tree::PreparedTree;
use crate::error::{Context, KernelError, Result};
use crate::files::plain;
use crate::process::{Log, Tool};
use patchfile::exit::BuildExit;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One section for each function and datum, as the differ needs it.
const OURS: &str = "-ffunction-sections -fdata-sections";
/// Variables of Kbuild with objtool's name, of the present and from before 5.19: its flags are noted, and it
/// is not run.
const NO_OBJTOOL: [&str; 2] = ["objtool=true", "__objtool_obj=true"];

/// How Kbuild compiles one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Of the source file, relative to the tree.
    pub(super) source: PathBuf,
    /// The compiler's part, for a shell.
    pub(super) command: String,
    /// What Kbuild runs on the object afterwards.
    then: String,
    /// Files that the object depends on, relative to the tree unless absolute.
    pub(super) inputs: BTreeSet<PathBuf>,
}

impl PreparedTree {
    /// Has Kbuild make these objects, as far as it has not yet, and reads their lines; how many it made.
    ///
    /// # Errors
    /// Exit code 5 when an object does not build.
    pub(super) fn lines(&self, sources: &[PathBuf], log: &Path) -> Result<(Vec<Line>, usize)> {
        let mut made = 0;
        // The note is written after the object; a run that was killed in between leaves none.
        let missing = |s: &&PathBuf| !self.dir.join(noted(s)).is_file();
        if sources.iter().any(|s| missing(&s)) {
            let _alone = self.slot().alone()?;
            let objects: Vec<PathBuf> =
                sources.iter().filter(missing).map(|s| s.with_extension("o")).collect();
            made = objects.len();
            if made > 0 {
                let mut log = Log::create(log)?;
                let jobs = std::thread::available_parallelism().map_or(1, usize::from);
                let make = self.make().args(NO_OBJTOOL).arg(format!("KCFLAGS={}", self.flags()));
                let make = make.arg(format!("-j{jobs}")).args(&objects);
                run(make, &mut log, ("the kernel's own source does not compile", BuildExit::OriginalBuild))?;
            }
        }
        let lines = sources.iter().map(|source| self.line(source)).collect::<Result<_>>()?;
        Ok((lines, made))
    }

    /// What we add to the flags of each object. Structures are compared by what debug information says of
    /// them.
    fn flags(&self) -> String {
        let debug = if self.config.is_on("DEBUG_INFO") { "" } else { " -g" };
        format!("{OURS}{debug}")
    }

    /// The object of a shipped source, as the compiler made it.
    ///
    /// # Errors
    /// When it cannot be read, or is of a kernel whose objtool could not be put off.
    pub(super) fn original(&self, line: &Line) -> Result<Vec<u8>> {
        let path = self.dir.join(line.source.with_extension("o"));
        if line.then.contains("/objtool") {
            let why = "was changed by objtool: this version of Kbuild is not known";
            return Err(KernelError::File { what: path.display().to_string(), why }.into());
        }
        std::fs::read(&path).at(&path)
    }

    fn line(&self, source: &Path) -> Result<Line> {
        let path = self.dir.join(noted(source));
        let text = std::fs::read_to_string(&path).at(&path)?;
        Line::read(source, &text).ok_or_else(|| {
            let why = "does not say how the object was compiled";
            KernelError::File { what: path.display().to_string(), why }.into()
        })
    }

    /// Compiles with a line, in `root` (the tree, or its copy with the fix), into `object`; gives what it was
    /// made from. Headers are looked for in `include` at last.
    ///
    /// # Errors
    /// With this exit code when it does not compile.
    pub(super) fn compile(
        &self,
        line: &Line,
        root: &Path,
        object: &Path,
        exit: BuildExit,
        include: Option<&Path>,
    ) -> Result<BTreeSet<PathBuf>> {
        let depends = object.with_extension("d");
        let log_path = object.with_extension("log");
        let include = include.map(|dir| format!(" -I{}", dir.display())).unwrap_or_default();
        let command = line.command_for(object, &depends) + &include;
        let mut log = Log::create(&log_path)?;
        let shell = Tool::new("sh").arg("-c").arg(command).dir(root).env("LC_ALL", "C");
        if !shell.logged(&mut log, |_| {})?.success() {
            let text = log.text();
            let why = text.lines().find(|l| l.contains("error:")).unwrap_or("the compiler fails").to_owned();
            return Err(
                KernelError::Compile { source_file: line.source.clone(), why, log: log_path, exit }.into()
            );
        }
        let text = std::fs::read_to_string(&depends).unwrap_or_default();
        Ok(dependencies(&text))
    }
}

/// `fs/proc/.loadavg.o.cmd`
fn noted(source: &Path) -> PathBuf {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    source.with_file_name(format!(".{stem}.o.cmd"))
}

impl Line {
    /// Reads a `.cmd` file of Kbuild (scripts/basic/fixdep.c says what is in it).
    fn read(source: &Path, text: &str) -> Option<Self> {
        let object = source.with_extension("o");
        let start = |l: &&str| l.starts_with("cmd_") || l.starts_with("savedcmd_");
        let (_, value) = text.lines().find(start)?.split_once(" := ")?;
        // Kbuild's make-cmd: what make would take for its own is written otherwise.
        let value = value.replace("$(pound)", "#").replace("\\#", "#").replace("$$", "$");
        let command = outside_quotes(&value, ';');
        let then = value[command.len()..].trim_start_matches(';').trim().to_owned();
        let command = command.trim().to_owned();
        command.contains(&format!(" -o {}", object.display())).then_some(())?;
        let mut inputs = BTreeSet::new();
        let mut listed = text.lines().skip_while(|l| !l.starts_with("deps_")).skip(1);
        for line in listed.by_ref().take_while(|l| !l.trim().is_empty()) {
            let name = line.trim().trim_end_matches('\\').trim();
            if !name.is_empty() && !name.starts_with("$(") {
                inputs.insert(plain(Path::new(name)));
            }
        }
        inputs.insert(source.to_path_buf());
        Some(Self { source: source.to_path_buf(), command, then, inputs })
    }

    /// The option of the command with this beginning, without it.
    fn option(&self, start: &str) -> Option<&str> {
        self.command.split_whitespace().find_map(|word| word.strip_prefix(start))
    }

    /// Kbuild's objtool with its flags for this unit, on another object of the same code. None where Kbuild
    /// runs it on modules when they are linked.
    pub(super) fn objtool_for(&self, object: &Path) -> Option<String> {
        let words: Vec<&str> = self.then.split_whitespace().collect();
        // An object that is a whole module is linked at once, and so has its tables made as a module.
        let start = words.iter().position(|w| *w == "true").filter(|_| !words.contains(&"--link"))?;
        let own = self.source.with_extension("o");
        let end = words.iter().skip(start).position(|w| Path::new(w) == own)? + start;
        let flags = words[start + 1..end].iter().filter(|w| !w.starts_with("--mcount") && **w != "--mnop");
        let flags: Vec<&str> = flags.copied().collect();
        Some(format!("tools/objtool/objtool {} {}", flags.join(" "), object.display()))
    }

    /// The command with this output.
    fn command_for(&self, object: &Path, depends: &Path) -> String {
        let own = format!(" -o {}", self.source.with_extension("o").display());
        let mut command = self.command.replace(&own, &format!(" -o {}", object.display()));
        if let Some(old) = self.option("-Wp,-MMD,") {
            command = command.replace(&format!("-Wp,-MMD,{old}"), &format!("-Wp,-MMD,{}", depends.display()));
        } else {
            command = format!("{command} -Wp,-MMD,{}", depends.display());
        }
        command
    }
}

/// The text up to the first `end` outside of quotes.
fn outside_quotes(text: &str, end: char) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c == end => return &text[..at],
            _ => {}
        }
    }
    text
}

/// The files in a compiler's list of dependencies.
fn dependencies(text: &str) -> BTreeSet<PathBuf> {
    let (_, list) = text.split_once(':').unwrap_or(("", text));
    list.split_whitespace().filter(|w| *w != "\\").map(|w| plain(Path::new(w))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTED: &str = "savedcmd_fs/a.o := gcc-12 -Wp,-MMD,fs/.a.o.d -DX='\"a;b\"' -DMODULE -DH=\\# -c -o fs/a.o fs/a.c   ; true --orc --mcount fs/a.o\n\nsource_fs/a.o := fs/a.c\n\ndeps_fs/a.o := \\\n    $(wildcard include/config/X) \\\n  include/linux/./x.h \\\n  fs/../fs/b.h \\\n\nfs/a.o: $(deps_fs/a.o)\n";

    #[test]
    fn lines_of_kbuild_are_read_and_given_another_output() {
        let line = Line::read(Path::new("fs/a.c"), NOTED).unwrap();
        assert_eq!(line.objtool_for(Path::new("p.o")).unwrap(), "tools/objtool/objtool --orc p.o");
        assert_eq!(line.inputs, ["fs/a.c", "fs/b.h", "include/linux/x.h"].map(PathBuf::from).into());
        assert_eq!(
            line.command_for(Path::new("/w/n.o"), Path::new("/w/n.d")),
            "gcc-12 -Wp,-MMD,/w/n.d -DX='\"a;b\"' -DMODULE -DH=# -c -o /w/n.o fs/a.c"
        );
        assert_eq!(Line::read(Path::new("fs/b.c"), NOTED), None);
    }

    #[test]
    fn objtool_is_left_to_the_link_of_modules_where_kbuild_does_so() {
        let linked = NOTED.replace("true --orc", "true --orc --link --module");
        assert_eq!(Line::read(Path::new("fs/a.c"), &linked).unwrap().objtool_for(Path::new("p.o")), None);
    }

    #[test]
    fn dependencies_are_read() {
        let files = dependencies("a.o: fs/a.c \\\n ./include/x.h fs/p/../q.h\n");
        assert_eq!(files, ["fs/a.c", "include/x.h", "fs/q.h"].map(PathBuf::from).into());
    }
}
