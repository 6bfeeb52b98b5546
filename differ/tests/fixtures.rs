//! Compiles each fixture twice, without and with `PATCHED` defined, and checks what the comparison says
//! against the directives at its top.
//!
//! | directive | meaning |
//! |---|---|
//! | `//#Flags: …` | further compiler flags |
//! | `//#Compiler: clang` | instead of gcc or g++; passed over where it is not installed |
//! | `//#Levels: -O0 -O2` | optimisation levels (default `-O0 -O1 -O2 -O3 -Os`) |
//! | `//#Changed: f g`, `//#New: f`, `//#Removed: f` | exactly these functions (`f*`: any rest) |
//! | `//#ObjectsChanged:`, `//#ObjectsNew:`, `//#ObjectsRemoved:` | exactly these data objects, if given |
//! | `//#Refused: text` | refused, and a refusal holds the text (repeatable) |
//! | `//#NotRefused: text` | no refusal is called so |
//! | `//#Warned: text` | a warning holds the text |
//! | `//#Unchanged` | nothing differs |
//! | `//#Existing: name -> orig` | the patch uses that symbol of the original unit |
//! | `//#Shipped: name` | the patch has a copy of its own |
//! | `//#Beside: f+0x10` | the patch uses something without a symbol, so far from that of the original |
//! | `//#Replaces: f -> g` | the patch replaces the original's `g` by `f` |
//! | `//#Entryless: f g` | the patch replaces none of these |
//! | `//#OldCode: f: g h` | exactly these are old code of `f` beside its entry |
//! | `//#TooShort: f` | compared as if `f` had no room for a jump |
//! | `//#Reason: text` | a reason holds the text |
//! | `//#OnlyG` | compile with `-g` only (otherwise both with and without) |

#![expect(clippy::unwrap_used, reason = "a test binary: what cannot go on should say so and stop")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use differ::{Change, ChangeKind, Options, PatchObject, SymbolPlace, UnitDiff};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let mut trials = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let fixture = Fixture { path, text };
        let installed = |name: &str| Command::new(name).arg("--version").output().is_ok();
        if fixture.first("Compiler").is_some_and(|name| !installed(name)) {
            continue;
        }
        let levels = fixture.first("Levels").unwrap_or("-O0 -O1 -O2 -O3 -Os").to_owned();
        let debug: &[&str] = if fixture.has("OnlyG") { &["-g"] } else { &["-g", ""] };
        for level in levels.split_whitespace() {
            for debug in debug {
                let fixture = fixture.clone();
                let (level, debug) = (level.to_owned(), (*debug).to_owned());
                let file = fixture.path.file_name().unwrap().to_string_lossy().into_owned();
                let name = format!("{file} {level} {debug}").trim_end().to_owned();
                trials.push(Trial::test(name, move || fixture.run(&level, &debug)));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

#[derive(Clone)]
struct Fixture {
    path: PathBuf,
    text: String,
}

impl Fixture {
    fn directives<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        let key = key.to_owned();
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix("//#")?.strip_prefix(key.as_str())?;
            if rest.is_empty() { Some("") } else { rest.strip_prefix(':').map(str::trim) }
        })
    }

    fn first(&self, key: &str) -> Option<&str> {
        self.directives(key).next()
    }

    fn has(&self, key: &str) -> bool {
        self.first(key).is_some()
    }

    fn compile(&self, out: &Path, flags: &[&str]) -> Result<Vec<u8>, Failed> {
        let compiler = if self.path.extension().is_some_and(|e| e == "cc") { "g++" } else { "gcc" };
        let output = Command::new(self.first("Compiler").unwrap_or(compiler))
            .args(["-w", "-c"])
            .args(flags.iter().filter(|f| !f.is_empty()))
            .args(self.first("Flags").unwrap_or("").split_whitespace())
            .arg(&self.path)
            .arg("-o")
            .arg(out)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(fs::read(out)?)
    }

    fn run(&self, level: &str, debug: &str) -> Result<(), Failed> {
        let dir = tempfile::tempdir()?;
        let sections = ["-ffunction-sections", "-fdata-sections"];
        let flags = |extra: &[&'static str]| -> Vec<String> {
            [level, debug].into_iter().chain(extra.iter().copied()).map(str::to_owned).collect()
        };
        let compile = |name: &str, flags: Vec<String>| {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            self.compile(&dir.path().join(name), &flags)
        };
        let orig = compile("orig.o", flags(&sections))?;
        let again = compile("again.o", flags(&sections))?;
        let patched = compile("patched.o", flags(&[sections[0], sections[1], "-DPATCHED"]))?;
        let plain = compile("plain.o", flags(&[]))?;

        let null = differ::diff(&orig, &again, &Options::default())?;
        check(null.is_unchanged(), || format!("the same source twice: {null:#?}"))?;
        let mismatches = differ::same_code(&plain, &orig)?;
        check(mismatches.is_empty(), || format!("plain and sectioned: {mismatches:?}"))?;

        let too_short = self.directives("TooShort").map(str::to_owned).collect();
        let options = Options { too_short, ..Options::default() };
        let diff = differ::diff(&orig, &patched, &options)?;
        self.verify(&diff)?;
        if let Some(patch) = &diff.patch {
            let elf = patch.to_elf()?;
            check(PatchObject::from_elf(&elf)? == *patch, || "ELF round trip".into())?;
            let path = dir.path().join("patch.o");
            fs::write(&path, elf)?;
            let linked =
                Command::new("ld").args(["-r", "-o"]).arg(dir.path().join("r.o")).arg(&path).output()?;
            check(linked.status.success(), || String::from_utf8_lossy(&linked.stderr).into_owned())?;
            self.execute(dir.path(), patch)?;
        }
        Ok(())
    }

    /// With a driver of the same name in `drivers/`: the original object with the patch object linked over it
    /// behaves like the patched one. The linker stands in for the applier: replaced functions are made weak
    /// in the original, so the patch's win.
    fn execute(&self, dir: &Path, patch: &PatchObject) -> Result<(), Failed> {
        let driver = self.path.parent().unwrap().join("drivers").join(self.path.file_name().unwrap());
        if !driver.exists() {
            return Ok(());
        }
        let compiler = if self.path.extension().is_some_and(|e| e == "cc") { "g++" } else { "gcc" };
        let mut rename = Command::new("objcopy");
        for symbol in &patch.symbols {
            match &symbol.place {
                SymbolPlace::Existing { orig_name, .. } => {
                    rename.arg(format!("--globalize-symbol={orig_name}"));
                }
                SymbolPlace::Defined { replaces: Some(name), .. } => {
                    rename.arg(format!("--weaken-symbol={name}"));
                }
                _ => {}
            }
        }
        run(rename.arg("orig.o").arg("hybrid.o").current_dir(dir))?;
        run(Command::new(compiler)
            .args(["-w", "-c"])
            .arg(&driver)
            .args(["-o", "driver.o"])
            .current_dir(dir))?;
        let mut outputs = Vec::new();
        for objects in [&["orig.o"][..], &["patched.o"], &["patch.o", "hybrid.o"]] {
            let link = ["-no-pie", "-pthread", "-o", "program", "driver.o"];
            run(Command::new(compiler).args(link).args(objects).current_dir(dir))?;
            outputs.push(run(&mut Command::new(dir.join("program")))?);
        }
        check(outputs[0] != outputs[1], || format!("the driver sees no difference: {}", outputs[0]))?;
        check(outputs[2] == outputs[1], || {
            format!("patched: {}with patch object: {}", outputs[1], outputs[2])
        })
    }

    fn verify(&self, diff: &UnitDiff) -> Result<(), Failed> {
        if self.has("Unchanged") {
            return check(diff.is_unchanged(), || format!("not unchanged: {diff:#?}"));
        }
        for wanted in self.directives("Refused") {
            let found = diff
                .refused
                .iter()
                .any(|r| format!("{} {} {} {}", r.what, r.place, r.why, r.remedy).contains(wanted));
            check(found, || format!("no refusal holds {wanted:?}: {diff:#?}"))?;
        }
        for unwanted in self.directives("NotRefused") {
            let found = diff.refused.iter().find(|r| r.what.contains(unwanted));
            check(found.is_none(), || format!("refused: {found:#?}"))?;
        }
        if !self.has("Refused") {
            check(diff.refused.is_empty(), || format!("refused: {:#?}", diff.refused))?;
            check(diff.patch.is_some(), || format!("no patch: {diff:#?}"))?;
        }
        for wanted in self.directives("Warned") {
            let found =
                diff.warnings.iter().any(|w| format!("{} {} {}", w.what, w.place, w.why).contains(wanted));
            check(found, || format!("no warning holds {wanted:?}: {:#?}", diff.warnings))?;
        }
        for wanted in self.directives("Reason") {
            let mut reasons = diff.functions.iter().chain(&diff.objects).flat_map(|c| &c.reasons);
            check(reasons.any(|r| r.contains(wanted)), || format!("no reason holds {wanted:?}: {diff:#?}"))?;
        }
        let kinds = [
            ("Changed", ChangeKind::Changed, true),
            ("New", ChangeKind::New, true),
            ("Removed", ChangeKind::Removed, false),
        ];
        for (key, kind, always) in kinds {
            if always && !self.has("Refused") || self.has(key) {
                names(&diff.functions, kind, self.first(key).unwrap_or(""), diff)?;
            }
            if let Some(wanted) = self.first(&format!("Objects{key}")) {
                names(&diff.objects, kind, wanted, diff)?;
            }
        }
        let symbols = diff.patch.iter().flat_map(|p| &p.symbols);
        for wanted in self.directives("Shipped") {
            let mut defined = symbols.clone().filter(|s| matches!(s.place, SymbolPlace::Defined { .. }));
            check(defined.any(|s| s.name == wanted), || format!("no copy of {wanted}: {:#?}", diff.patch))?;
        }
        let entries: Vec<_> = symbols
            .clone()
            .filter_map(|s| match &s.place {
                SymbolPlace::Defined { replaces: Some(old), old_fragments, .. } => Some((old, old_fragments)),
                _ => None,
            })
            .collect();
        for name in self.directives("Entryless").flat_map(str::split_whitespace) {
            check(entries.iter().all(|(old, _)| *old != name), || {
                format!("{name} is replaced: {entries:?}")
            })?;
        }
        for (name, wanted) in self.directives("OldCode").filter_map(|d| d.split_once(':')) {
            let found =
                entries.iter().find(|(old, _)| *old == name).map(|(_, fragments)| fragments.join(" "));
            check(found.as_deref() == Some(wanted.trim()), || format!("{name}: old code {found:?}"))?;
        }
        for (key, wanted) in
            ["Existing", "Replaces"].iter().flat_map(|k| self.directives(k).map(move |d| (*k, d)))
        {
            let (name, other) = wanted.split_once(" -> ").unwrap();
            let found = symbols.clone().any(|s| {
                let target = match &s.place {
                    SymbolPlace::Existing { orig_name, .. } if key == "Existing" => Some(orig_name),
                    SymbolPlace::Defined { replaces, .. } if key == "Replaces" => replaces.as_ref(),
                    _ => None,
                };
                fits(name, &s.name) && target.is_some_and(|t| fits(other, t))
            });
            check(found, || {
                format!("no symbol {key} {wanted}: {:#?}", diff.patch.as_ref().map(|p| &p.symbols))
            })?;
        }
        for wanted in self.directives("Beside") {
            let found = symbols.clone().any(|s| match &s.place {
                SymbolPlace::Beside { neighbour, distance } => format!("{neighbour}{distance:+#x}") == wanted,
                _ => false,
            });
            check(found, || format!("nothing is {wanted}: {:#?}", diff.patch.as_ref().map(|p| &p.symbols)))?;
        }
        Ok(())
    }
}

/// Standard output of a command that must succeed.
fn run(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    check(output.status.success(), || format!("{command:?}: {}: {text}", output.status))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn check(condition: bool, message: impl FnOnce() -> String) -> Result<(), Failed> {
    if condition { Ok(()) } else { Err(message().into()) }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// Each wanted pattern matches something (`?` at its end: may), and nothing is left over.
fn names(changes: &[Change], kind: ChangeKind, wanted: &str, diff: &UnitDiff) -> Result<(), Failed> {
    let found: Vec<&str> = changes.iter().filter(|c| c.kind == kind).map(|c| c.name.as_str()).collect();
    let optional = |p: &str| p.ends_with('?');
    let patterns: Vec<&str> = wanted.split_whitespace().collect();
    for pattern in patterns.iter().filter(|p| !optional(p)) {
        check(found.iter().any(|f| fits(pattern, f)), || format!("{kind:?}: no {pattern}: {diff:#?}"))?;
    }
    for name in &found {
        let known = patterns.iter().any(|p| fits(p.trim_end_matches('?'), name));
        check(known, || format!("{kind:?}: unexpected {name}: {diff:#?}"))?;
    }
    Ok(())
}
