//! The rebuild with its fix: the engine's input, as `upatch-build` would have it, without the recorder.

use super::model::Model;
use crate::random::build::{self, Built};
use crate::random::plan::{Form, Plan};
use anyhow::{Context, Result, ensure};
use differ::UnitDiff;
use linker::{
    self, FitInput, LibraryFiles, LinkError, LinkInput, LinkOutput, OriginalUnit, ParsedElf, UnitPatch,
    UsedAddresses,
};
use packager::compare_objects;
use patchfile::Digest;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Objects by all that they are compiled from, since most files of a pair are the same.
#[derive(Debug, Default)]
pub(super) struct Objects(HashMap<String, Vec<u8>>);

const SECTIONS: [&str; 2] = ["-ffunction-sections", "-fdata-sections"];

impl Objects {
    /// Compiles `name`, one of `sources`, in `dir`.
    pub(super) fn compile(
        &mut self,
        dir: &Path,
        sources: &[(String, String)],
        name: &str,
        model: &Model,
        sectioned: bool,
    ) -> Result<Vec<u8>> {
        let (driver, mut flags) = model.plan.unit(name);
        flags.extend(SECTIONS.iter().filter(|_| sectioned));
        let path = if model.absolute { dir.join(name) } else { PathBuf::from(name) };
        let read = sources.iter().filter(|(n, _)| n == name || n.ends_with(".h"));
        let texts: String = read.map(|(n, text)| format!("{n}\n{text}\n")).collect();
        let key = format!("{driver} {flags:?} {}\n{texts}", path.display());
        if let Some(object) = self.0.get(&key) {
            return Ok(object.clone());
        }
        let object = dir.join("compiled.o");
        let mut command = Command::new(driver);
        command.current_dir(dir).args(["-c", "-o", "compiled.o"]).arg(&path);
        build::run(command.args(["-isystem", crate::random::csmith::INCLUDE]).args(flags))?;
        let content = std::fs::read(object)?;
        self.0.insert(key, content.clone());
        Ok(content)
    }
}

/// Writes and builds the sources in `dir`, the units in this order.
pub(super) fn build(
    objects: &mut Objects,
    dir: &Path,
    model: &Model,
    sources: &[(String, String)],
    order: &[usize],
) -> Result<Built> {
    std::fs::create_dir_all(dir)?;
    for (name, text) in sources {
        std::fs::write(dir.join(name), text)?;
    }
    let names: Vec<&str> = order.iter().map(|i| sources[*i].0.as_str()).collect();
    let mut plain = Vec::new();
    for name in &names {
        let object = objects.compile(dir, sources, name, model, false)?;
        std::fs::write(dir.join(format!("{name}.o")), &object)?;
        plain.push(object);
    }
    // The driver is the same in all folders of one family.
    let driver = dir.with_file_name("driver.o");
    if driver.exists() {
        std::fs::copy(&driver, dir.join("driver.o"))?;
    }
    let built = build::join(dir, &names, plain, &model.plan)?;
    if !driver.exists() {
        std::fs::copy(dir.join("driver.o"), driver)?;
    }
    Ok(built)
}

/// The rebuild, and what the fix changes in it.
#[derive(Debug)]
pub(super) struct Rebuild {
    pub(super) built: Built,
    plan: Plan,
    unit: String,
    original: Vec<u8>,
    diff: UnitDiff,
}

/// What the engine says of a target.
#[derive(Debug)]
pub(super) enum Answer {
    Fits(Box<LinkOutput>),
    /// It does not, for these reasons.
    Refused(Vec<String>),
}

impl Rebuild {
    /// Builds the sources, and compares those with the fix, which changes the unit `unit`. `None`: the fix
    /// alone cannot be patched live, or changes nothing.
    pub(super) fn new(
        objects: &mut Objects,
        dir: &Path,
        model: &Model,
        sides: [&[(String, String)]; 2],
        order: &[usize],
        unit: &str,
    ) -> Result<Option<Self>> {
        let built = build(objects, dir, model, sides[0], order)?;
        let original = std::fs::read(dir.join(format!("{unit}.o")))?;
        let sectioned = objects.compile(dir, sides[0], unit, model, true)?;
        // In the same place, whose path it may hold.
        let write = |side: &[(String, String)]| {
            side.iter().filter(|(n, _)| n == unit).try_for_each(|(n, text)| std::fs::write(dir.join(n), text))
        };
        write(sides[1])?;
        let patched = objects.compile(dir, sides[1], unit, model, true)?;
        write(sides[0])?;
        let diff = compare_objects(unit, &original, &sectioned, &patched)?;
        if !diff.refused.is_empty() || diff.patch.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { built, plan: model.plan.clone(), unit: unit.to_owned(), original, diff }))
    }

    /// Asks the engine.
    pub(super) fn ask(&self, target: &[u8], debug: Option<&[u8]>) -> Result<Answer> {
        let Built { linked, map, record, .. } = &self.built;
        let sha256 = Digest::of(&self.original).to_string();
        let Some(patch) = &self.diff.patch else { return Ok(Answer::Refused(vec!["nothing".into()])) };
        let unit = UnitPatch {
            name: &self.unit,
            cplusplus: self.unit.ends_with(".cc"),
            original: Some(OriginalUnit::Object { sha256: &sha256, object: &self.original }),
            prebuilt: false,
            patch,
            extents: &self.diff.extents,
        };
        let files = ParsedElf::parse(linked, "linked ELF")
            .and_then(|linked| Ok((linked, ParsedElf::parse(target, "target ELF")?)));
        let (parsed, of_target) = match files {
            Ok(files) => files,
            Err(e) => return refused(e),
        };
        let addresses = match linker::addresses(&parsed, &of_target, debug) {
            Ok(addresses) => addresses,
            Err(e) => return refused(e),
        };
        let places = UsedAddresses::new(addresses.as_ref());
        let folders = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"];
        let libraries =
            LibraryFiles::new(|path| std::fs::read(path).ok(), None, [], folders.map(PathBuf::from));
        let output = match linker::link(&LinkInput {
            name: if self.plan.form == Form::Library { "libtarget.so" } else { "program" },
            units: &[unit],
            record,
            map: Some(map),
            linked: &parsed,
            target: &of_target,
            addresses: &places,
            patched: None,
            libraries: &libraries,
            moved: &linker::MovedDefinitions::default(),
        }) {
            Ok(output) => output,
            Err(e) => return refused(e),
        };
        let linker::Product::Image(image) = &output.product;
        ensure!(!image.redirects.is_empty(), "nothing is redirected");
        let used = places.used(output.changed.iter().map(|c| c.old));
        let paths: Vec<Vec<u8>> =
            self.built.dir.ancestors().map(|f| f.as_os_str().as_bytes().to_vec()).collect();
        let kept: HashMap<String, Vec<u8>> =
            self.built.plain.iter().map(|o| (Digest::of(o).to_string(), o.clone())).collect();
        let brought = output.product.contents();
        let fit = linker::fit(&FitInput {
            linked: &parsed,
            map: Some(map),
            record,
            parts: &[],
            objects: &kept,
            target: &of_target,
            debug,
            used: &used,
            units: &HashMap::from([(sha256.clone(), self.unit.clone())]),
            brought: &brought,
            paths: &paths[..paths.len().saturating_sub(1)],
        })
        .context("comparing with the target")?;
        if fit.refused.is_empty() {
            return Ok(Answer::Fits(Box::new(output)));
        }
        Ok(Answer::Refused(fit.refused.iter().map(|r| format!("fit | {} | {}", r.place, r.why)).collect()))
    }
}

fn refused(error: LinkError) -> Result<Answer> {
    match error {
        LinkError::Refused(refusals) | LinkError::NoRoom { refusals, .. } => Ok(Answer::Refused(
            refusals.iter().map(|r| format!("{} | {} | {}", r.what, r.place, r.why)).collect(),
        )),
        other => Err(other).context("linking"),
    }
}
