//! Compiling a recorded unit once more, with more flags.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::error::{Error, IoContext, Result};
use crate::base::hash::{self, KeyHasher};
use crate::base::{env, files, streams};
use crate::command_line::driver::{CommandLine, Source};
use crate::command_line::{assembler, clang_pass};
use crate::inputs::proof::InputsInPlace;
use crate::inputs::scan;
use crate::record::unit::{LTRANS, UnitRecord};
use crate::store::results::{Store, StoredUnit};
use crate::sys::child;
use crate::tools::names::{self, Tool};
use crate::tools::{identity, resolve};
use records::OsBytes;
use records::Pass;

/// What came out of [`recompile()`].
#[derive(Clone, Debug)]
pub struct RecompileOutcome {
    /// The object, where it was asked for.
    pub object: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// Taken from the store.
    pub reused: bool,
    /// What the compiler said.
    pub stderr: Vec<u8>,
}

/// Runs a unit's recorded command again with the real compiler, in its directory and environment:
/// `extra_flags` added, the object to `output`, without dependency files. Meanwhile every input has its
/// recorded content, if need be from a copy.
///
/// A unit recorded from a bare assembler call is assembled again without `extra_flags`, which are for
/// compilers.
///
/// # Errors
/// [`Error::InputChanged`], [`Error::NotRecompilable`], [`Error::CompileFailed`], or an I/O error.
pub fn recompile(
    unit: &UnitRecord,
    extra_flags: &[&str],
    output: &Path,
    store: Option<&Store>,
) -> Result<RecompileOutcome> {
    let mut outcome = compiled(unit, extra_flags, output, store)?;
    for pass in unit.copied.iter().flat_map(|copied| &copied.passes) {
        repeat(unit, pass, &outcome.object)?;
        outcome.sha256 = hash::sha256_file(&outcome.object)?;
    }
    Ok(outcome)
}

/// Does to an object what objcopy or strip did to the recorded one.
fn repeat(unit: &UnitRecord, pass: &Pass, object: &Path) -> Result<()> {
    let mut command = Command::new(pass.tool.as_path());
    command.args(pass.options.iter().map(OsBytes::as_os_str)).arg(object);
    command.current_dir(pass.cwd.as_path()).env("PWD", pass.cwd.as_path()).env(env::ACTIVE, "1");
    let result = command.stdin(Stdio::null()).output().at("run", pass.tool.as_path())?;
    if result.status.success() {
        return Ok(());
    }
    Err(failed(unit, &result))
}

fn failed(unit: &UnitRecord, result: &std::process::Output) -> Error {
    Error::CompileFailed {
        unit: unit.source.to_string_lossy(),
        status: result.status.to_string(),
        stderr: String::from_utf8_lossy(&result.stderr).into_owned(),
    }
}

fn compiled(
    unit: &UnitRecord,
    extra_flags: &[&str],
    output: &Path,
    store: Option<&Store>,
) -> Result<RecompileOutcome> {
    if let Some(why) = &unit.not_recompilable {
        return Err(Error::NotRecompilable { unit: unit.source.to_string_lossy(), why: why.clone() });
    }
    let inputs = InputsInPlace::of(unit)?;
    let output = std::path::absolute(output).at("resolve", output)?;
    let plan = Plan::new(unit, extra_flags)?;
    let id = store.and_then(|_| plan.store_id(unit));
    if let (Some(store), Some(id)) = (store, &id)
        && let Some(stored) = store.get(id)
    {
        files::write(&output, &stored.object)?;
        let sha256 = hash::sha256(&stored.object);
        return Ok(RecompileOutcome { object: output, sha256, reused: true, stderr: stored.stderr });
    }
    if let Some(why) = &unit.untracked {
        prove(unit, why, &output)?;
    }
    let stderr = plan.run(unit, &output)?;
    drop(inputs);
    let object = fs::read(&output).at("read", &output)?;
    let sha256 = hash::sha256(&object);
    if let (Some(store), Some(id)) = (store, &id) {
        let stored = StoredUnit { object, dep_file: None, stderr: stderr.clone(), deps: Vec::new() };
        // A full disk costs time later, not the result now.
        let _ = store.put(id, &stored);
    }
    Ok(RecompileOutcome { object: output, sha256, reused: false, stderr })
}

/// A unit of which not all inputs are known: without further flags its compiler must make the very object
/// that it made. Of link-time optimisation it never does, as its sections have random names.
fn prove(unit: &UnitRecord, why: &str, output: &Path) -> Result<()> {
    let not = |why: String| Error::NotRecompilable { unit: unit.source.to_string_lossy(), why };
    if unit.lto {
        return Err(not(why.to_owned()));
    }
    Plan::new(unit, &[])?.run(unit, output)?;
    if hash::sha256_file(output)? == unit.compiled_sha256() {
        return Ok(());
    }
    Err(not(format!("compiled as it was, it gives another object; {why}")))
}

/// The command without its output.
struct Plan {
    words: Vec<Vec<u8>>,
    env: Vec<(OsBytes, OsBytes)>,
    cacheable: bool,
    family: Tool,
}

impl Plan {
    fn new(unit: &UnitRecord, extra_flags: &[&str]) -> Result<Self> {
        let recorded: Vec<Vec<u8>> = unit.expanded_argv.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut env = unit.env.clone();
        if !env.iter().any(|(name, _)| name.as_bytes() == b"SOURCE_DATE_EPOCH") {
            env.push(("SOURCE_DATE_EPOCH".into(), unit.session_created.to_string().as_str().into()));
        }
        let name = unit.driver.as_path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        if names::classify(&name) == Some(Tool::Assembler) {
            let words = assembler::without_output(&recorded);
            return Ok(Self { words, env, cacheable: false, family: Tool::Assembler });
        }
        let pass = recorded.first().map(Vec::as_slice);
        if pass == Some(clang_pass::CC1) || pass == Some(clang_pass::CC1AS) {
            // The assembler makes the sections that its text says.
            let extra_flags = if pass == Some(clang_pass::CC1) { extra_flags } else { &[] };
            let extra: Vec<Vec<u8>> = extra_flags.iter().map(|flag| flag.as_bytes().to_vec()).collect();
            let words = clang_pass::without_outputs(&recorded, &extra);
            return Ok(Self { words, env, cacheable: false, family: Tool::Clang });
        }
        let mut line = CommandLine::parse(unit.driver.as_bytes(), &recorded);
        // What the name says that a driver was called by (`clang++`) may be gone with the link of that name.
        if let Some(source) = line.sources.iter_mut().find(|source| source.name == unit.source.as_bytes())
            && unit.language != "unknown"
        {
            source.language.clone_from(&unit.language);
        }
        let source =
            line.sources.iter().find(|source| source.name == unit.source.as_bytes()).ok_or_else(|| {
                let why = "its source is not on the recorded command line".to_owned();
                Error::NotRecompilable { unit: unit.source.to_string_lossy(), why }
            })?;
        let source = Source { name: source.name.clone(), language: source.language.clone() };
        let mut extra: Vec<Vec<u8>> = extra_flags.iter().map(|flag| flag.as_bytes().to_vec()).collect();
        extra.push(b"-c".to_vec());
        let family = resolve::driver_family(unit.driver.as_path());
        let knows_headers = !unit.notes.iter().any(|note| note.starts_with("headers are not known"));
        let cacheable = line.no_store.is_none() && knows_headers && unit.untracked.is_none();
        let words = if unit.language == LTRANS {
            line.words_for_all(&extra)
        } else {
            line.words_for(&source, &extra)
        };
        Ok(Self { words, env, cacheable, family })
    }

    fn store_id(&self, unit: &UnitRecord) -> Option<String> {
        if !self.cacheable {
            return None;
        }
        let nowhere = Path::new("/nonexistent");
        let mut key = KeyHasher::new("again 1");
        key.field(identity::of(unit.driver.as_path(), self.family, None, nowhere)?.as_bytes());
        key.field(unit.cwd.as_bytes());
        self.words.iter().for_each(|word| key.field(word));
        key.field(b"environment");
        for (name, value) in &self.env {
            // The session's time matters only to a unit that asks for it.
            if name.as_bytes() == b"SOURCE_DATE_EPOCH" && !uses_time(unit) {
                continue;
            }
            key.field(name.as_bytes());
            key.field(value.as_bytes());
        }
        key.field(b"inputs");
        for dep in &unit.deps {
            key.field(dep.path.as_bytes());
            key.field(dep.sha256.as_bytes());
        }
        // The unit's own object stands for what the list of inputs cannot say, such as a header that was not
        // there.
        key.field(unit.compiled_sha256().as_bytes());
        Some(key.finish())
    }

    fn run(&self, unit: &UnitRecord, output: &Path) -> Result<Vec<u8>> {
        let mut command = Command::new(unit.driver.as_path());
        command.args(self.words.iter().map(|word| OsBytes::from(word.as_slice()).as_os_str().to_owned()));
        command.arg("-o").arg(output);
        command.current_dir(unit.cwd.as_path()).env("PWD", unit.cwd.as_path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| env::is_relevant(name)) {
            command.env_remove(name);
        }
        for name in env::DEPENDENCY_OUTPUT {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())));
        command.env(env::ACTIVE, "1");
        match &unit.stdin {
            Some(kept) => {
                let file = File::open(kept.as_path()).at("read", kept.as_path())?;
                child::give(
                    &mut command,
                    file.into(),
                    streams::descriptor(unit.source.as_bytes()).unwrap_or(0),
                );
            }
            None => {
                command.stdin(Stdio::null());
            }
        }
        let result = command.output().at("run", unit.driver.as_path())?;
        if result.status.success() {
            return Ok(result.stderr);
        }
        Err(failed(unit, &result))
    }
}

fn uses_time(unit: &UnitRecord) -> bool {
    unit.deps.iter().any(|dep| {
        fs::read(dep.path.as_path()).map_or(true, |text| {
            let found = scan::scan(&text);
            found.date || found.timestamp
        })
    })
}
