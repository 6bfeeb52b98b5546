//! Compiles and links one side of a pair, and writes the records that a recorded build would leave.

use super::plan::{Form, Plan};
use anyhow::{Context, Result, bail};
use patchfile::Digest;
use std::path::{Path, PathBuf};
use std::process::Command;
use wrapper::{LinkInput, LinkRecord, MapFlavour, OsBytes};

const SECTIONS: [&str; 2] = ["-ffunction-sections", "-fdata-sections"];

/// One side, built.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) dir: PathBuf,
    /// Objects as linked, by unit.
    pub(crate) plain: Vec<Vec<u8>>,
    /// What is started.
    pub(crate) program: PathBuf,
    /// The file that a patch is for, as linked.
    pub(crate) linked: Vec<u8>,
    /// The same as it is in service.
    pub(crate) target: Vec<u8>,
    pub(crate) map: String,
    pub(crate) record: LinkRecord,
}

/// Runs a compiler or linker; what it says goes into the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr);
        bail!("{command:?}: {}\n{}", out.status, text.chars().take(2000).collect::<String>());
    }
    Ok(())
}

/// Writes the sources to `dir`.
pub(crate) fn write_sources(dir: &Path, sources: &[(&'static str, String)]) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    for (name, text) in sources {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(())
}

fn compile(dir: &Path, source: &str, plan: &Plan, extra: &[&str], object: &str) -> Result<Vec<u8>> {
    let (driver, flags) = plan.unit(source);
    let mut command = Command::new(driver);
    command.current_dir(dir).args(["-c", "-o", object, source, "-isystem", super::csmith::INCLUDE]);
    run(command.args(flags).args(extra))?;
    Ok(std::fs::read(dir.join(object))?)
}

/// The objects with one section for each function and datum.
pub(crate) fn sectioned(dir: &Path, names: &[&'static str], plan: &Plan) -> Result<Vec<Vec<u8>>> {
    names.iter().map(|n| compile(dir, n, plan, &SECTIONS, &sectioned_name(n))).collect()
}

/// File name of such an object.
pub(crate) fn sectioned_name(source: &str) -> String {
    format!("{source}.sections.o")
}

/// Compiles and links what lies in `dir`.
pub(crate) fn build(dir: &Path, names: &[&'static str], plan: &Plan) -> Result<Built> {
    let plain = names.iter().map(|n| compile(dir, n, plan, &[], &format!("{n}.o"))).collect::<Result<_>>()?;
    join(dir, names, plain, plan)
}

/// Links the objects `NAME.o` in `dir`, whose contents are `plain`.
pub(crate) fn join(dir: &Path, names: &[impl AsRef<str>], plain: Vec<Vec<u8>>, plan: &Plan) -> Result<Built> {
    let (mut inputs, mut files, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (name, data)) in names.iter().zip(&plain).enumerate() {
        let object = format!("{}.o", name.as_ref());
        let (path, member) = if plan.archive && index > 0 {
            members.push(object.clone());
            ("libunits.a", Some(OsBytes::from(object.as_bytes())))
        } else {
            files.push(object.clone());
            (object.as_str(), None)
        };
        let sha256 = Digest::of(data).to_string();
        inputs.push(LinkInput { path: OsBytes::from(path.as_bytes()), member, sha256, occurrence: 0 });
    }
    if !members.is_empty() {
        run(Command::new("ar").current_dir(dir).args(["crs", "libunits.a"]).args(&members))?;
        files.push("libunits.a".into());
    }
    std::fs::write(dir.join("driver.c"), include_str!("driver.c"))?;
    let cplusplus = names.iter().any(|n| n.as_ref().ends_with(".cc"));
    let compiler = plan.driver(cplusplus);
    let library = plan.form == Form::Library;
    let flag = if plan.form == Form::Fixed { "-fno-pie" } else { "-fPIE" };
    if !dir.join("driver.o").exists() {
        let args = ["-O1", "-w", "-c", "driver.c", "-o", "driver.o", flag];
        run(Command::new("gcc").current_dir(dir).args(args))?;
    }
    let output = if library { "libtarget.so" } else { "program" };
    let mut command = Command::new(compiler);
    command.current_dir(dir).args(["-o", output, "-Wl,-Map=map"]);
    if !library {
        command.arg("driver.o");
    }
    run(command.args(&files).args(&plan.link).arg("-lm"))?;
    if library {
        let args = ["-pie", "-o", "program", "driver.o", "libtarget.so", "-Wl,-rpath,$ORIGIN"];
        run(Command::new(compiler).current_dir(dir).args(args))?;
    }
    let linked = std::fs::read(dir.join(output))?;
    if plan.stripped {
        run(Command::new("strip").current_dir(dir).arg(output))?;
    }
    let target = std::fs::read(dir.join(output))?;
    let bytes = |text: &str| OsBytes::from(text.as_bytes());
    let record = LinkRecord {
        copied: Vec::new(),
        version: 1,
        id: "1".into(),
        linker: bytes("ld"),
        argv: Vec::new(),
        expanded_argv: plan.link.iter().map(|a| bytes(a.trim_start_matches("-Wl,"))).collect(),
        cwd: bytes(&dir.to_string_lossy()),
        output: bytes(output),
        output_sha256: Digest::of(&linked).to_string(),
        saved: bytes(output),
        map: Some(bytes("map")),
        map_flavour: MapFlavour::Bfd,
        inputs,
        shared_libs: Vec::new(),
        relocatable: false,
        shared: library,
        lto: false,
        phase: wrapper::Phase::Original,
        notes: Vec::new(),
    };
    let map = String::from_utf8_lossy(&std::fs::read(dir.join("map"))?).into_owned();
    Ok(Built { dir: dir.to_path_buf(), plain, program: dir.join("program"), linked, target, map, record })
}
