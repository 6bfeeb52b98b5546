//! The record of a unit that a compiler driver has just made, and what of it the store may keep.

use std::fs;
use std::path::PathBuf;

use crate::base::error::Result;
use crate::base::files::{self, Scratch};
use crate::base::hash;
use crate::base::streams::{self, DescriptorText, Input};
use crate::inputs::{assembled, dep_file, examine};
use crate::intercept::compile::unit::{Listing, Unit};
use crate::record::unit::UnitRecord;
use crate::store::key::UnitKey;
use crate::store::results::{Store, StoredUnit};

/// What a run of the compiler left behind.
pub(crate) struct CompilerRun {
    pub(crate) input: Input,
    pub(crate) listing: Listing,
    /// What the compiler listed.
    pub(crate) headers: Option<Scratch>,
    /// What the assembler listed.
    pub(crate) assembled: Option<Scratch>,
    pub(crate) stderr: Vec<u8>,
}

/// What the assembler read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Assembled {
    /// It was not asked.
    NotTold,
    /// The text that the compiler made.
    Itself,
    /// Other files too.
    More,
}

impl Unit<'_> {
    pub(crate) fn record(&mut self, key: Option<(Store, UnitKey)>, run: CompilerRun) -> Result<()> {
        let mut unit = self.blank();
        let object = self.recorder.set_object(&mut unit, &self.line.object_of(self.source))?;
        match &run.input {
            Input::File => {}
            Input::DescriptorText(DescriptorText { text, .. }) => {
                let kept = self.recorder.session.dir().join("stdin").join(hash::sha256(text));
                files::write(&kept, text)?;
                unit.stdin = Some(kept.into());
            }
            Input::Untouchable(why) => unit.not_recompilable = Some(why.clone()),
        }
        let told = self.told(&run, &mut unit);
        match key {
            Some((store, key)) if unit.untracked.is_none() && unit.not_recompilable.is_none() => {
                self.keep(&store, &key, &mut unit, object, run.stderr, told);
            }
            _ => {
                let untracked = unit.untracked.iter().chain(&self.line.no_store);
                unit.notes.extend(untracked.map(|why| format!("not kept in the store: {why}")).next_back());
            }
        }
        self.recorder.write_unit(&unit)
    }

    /// Names all inputs, or says what is not known of them.
    fn told(&mut self, run: &CompilerRun, unit: &mut UnitRecord) -> Assembled {
        let mut names: Vec<Vec<u8>> = Vec::new();
        if matches!(run.input, Input::File) {
            names.push(self.source.name.clone());
        }
        names.extend(self.line.reads.iter().cloned());
        // The preprocessor must not wait for a pipe that the compiler has emptied.
        let text = self.own_list().and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let mut known = dep_file::prerequisites(&text).into_iter().chain(self.line.includes.iter().cloned());
        let held = |name: &Vec<u8>| unit.stdin.is_some() && *name == self.source.name;
        if let Some(name) =
            known.find(|name| !held(name) && streams::is_stream(&self.recorder.absolute(name)))
        {
            unit.not_recompilable.get_or_insert_with(|| streams::why(&name));
        }
        let headers = if unit.not_recompilable.is_some() {
            Err("an input is a pipe or device".to_owned())
        } else {
            self.headers(run)
        };
        if let Err(why) = &headers {
            unit.notes.push(format!("headers are not known: {why}"));
            unit.untracked = Some(format!("headers are not known: {why}"));
        }
        names.extend(headers.unwrap_or_default());
        let assembled = run.assembled.as_ref();
        let assembled = assembled.and_then(|list| assembled::read(list.path(), None, &self.source.name));
        let mut told = if assembled.is_some() { Assembled::Itself } else { Assembled::NotTold };
        for name in assembled.into_iter().flatten() {
            if !names.contains(&name) && self.recorder.absolute(&name).exists() {
                unit.notes.push(format!("the assembler reads {}", String::from_utf8_lossy(&name)));
                names.push(name);
                told = Assembled::More;
            }
        }
        for name in &names {
            let held = unit.stdin.is_some() && *name == self.source.name;
            if !held {
                self.recorder.add_input(unit, name);
            }
        }
        let found = examine::precompiled(&self.recorder, self.real, self.line, self.source);
        for header in found.unwrap_or_default() {
            unit.notes.push(format!("{}: precompiled header", header.display()));
            self.recorder.add_input(unit, header.as_os_str().as_encoded_bytes());
        }
        if unit.untracked.is_none() {
            unit.untracked = examine::untracked(&self.recorder, &unit.deps, told != Assembled::NotTold);
        }
        told
    }

    fn keep(
        &self,
        store: &Store,
        key: &UnitKey,
        unit: &mut UnitRecord,
        object: Vec<u8>,
        stderr: Vec<u8>,
        told: Assembled,
    ) {
        // Where the assembler looked for the file is not known, so one that appears earlier would not be
        // missed.
        if told == Assembled::More {
            return unit.notes.push("not kept in the store: the assembler reads more files".to_owned());
        }
        let dep_file = match self.line.dep_file_of(self.source).map(|file| self.recorder.absolute(&file)) {
            Some(path) if fs::metadata(&path).is_ok_and(|meta| meta.is_file()) => fs::read(&path).ok(),
            Some(_) => return,
            None => None,
        };
        let stored = StoredUnit { object, dep_file, stderr, deps: unit.deps.clone() };
        match examine::examine(
            &self.recorder,
            self.family,
            self.real,
            self.line,
            self.source,
            &unit.deps,
            told == Assembled::Itself,
        ) {
            Ok(found) => {
                unit.notes.extend(found.notes());
                store.keep(key, &stored, &found);
            }
            Err(why) => unit.notes.push(format!("not kept in the store: {why}")),
        }
    }

    /// The dependency file that the build asks for.
    fn own_list(&self) -> Option<PathBuf> {
        let path = self.recorder.absolute(&self.line.dep_file_of(self.source)?);
        fs::metadata(&path).is_ok_and(|meta| meta.is_file()).then_some(path)
    }

    fn headers(&self, run: &CompilerRun) -> std::result::Result<Vec<Vec<u8>>, String> {
        if self.source.language == "assembler" || self.source.language.ends_with("cpp-output") {
            return Ok(Vec::new());
        }
        let path = match run.listing {
            Listing::Sunpro | Listing::Headers => run.headers.as_ref().map(|list| list.path().to_path_buf()),
            Listing::OwnFile => self.own_list(),
            Listing::AskAgain => None,
        };
        match path.and_then(|path| fs::read(path).ok()) {
            Some(text) if run.listing == Listing::Headers => Ok(text
                .split(|byte| *byte == b'\n')
                .filter(|name| !name.is_empty())
                .map(<[u8]>::to_vec)
                .collect()),
            Some(text) if !text.is_empty() => Ok(dep_file::prerequisites(&text)),
            // clang writes no file if there was no header at all.
            None if run.listing == Listing::Headers => Ok(Vec::new()),
            _ => examine::ask_compiler(self.real, self.line, self.source, &self.recorder),
        }
    }
}
