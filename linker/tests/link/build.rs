//! Compiles both variants of small programs, links the original, and writes the records that a real build
//! would leave.

use std::path::{Path, PathBuf};
use std::process::Command;

use patchfile::Digest;
use records::{LinkInput, LinkRecord, MapFlavour, OsBytes};

/// One source file; `PATCHED` is defined in the patched variant.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// How the program is made.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) compile: &'static [&'static str],
    pub(crate) link: &'static [&'static str],
    /// Put all units but the first into an archive.
    pub(crate) archive: bool,
    /// Make a library of the units, called by a program of this text.
    pub(crate) library_caller: Option<&'static str>,
}

/// What came out.
pub(crate) struct Built {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) linked: Vec<u8>,
    pub(crate) map: String,
    pub(crate) record: LinkRecord,
    /// Plain object, original sectioned, patched sectioned; by source.
    pub(crate) units: Vec<[Vec<u8>; 3]>,
    pub(crate) executable: PathBuf,
    pub(crate) module: &'static str,
}

pub(crate) fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {:?}\n{text}", out.status);
    text
}

fn compiler(source: &str) -> Command {
    let cplusplus = source.ends_with(".cc");
    Command::new(if cplusplus { "g++" } else { "gcc" })
}

fn compile(dir: &Path, source: &str, plan: &Plan, extra: &[&str], object: &str) -> Vec<u8> {
    let mut command = compiler(source);
    run(command.current_dir(dir).args(["-g", "-c", "-o", object, source]).args(plan.compile).args(extra));
    std::fs::read(dir.join(object)).unwrap()
}

pub(crate) fn build(plan: Plan, sources: &[Source]) -> Built {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let sections = ["-ffunction-sections", "-fdata-sections"];
    let mut units = Vec::new();
    let mut objects = Vec::new();
    for source in sources {
        // Two sources may differ in their directory only.
        let at = path.join(source.name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, source.text).unwrap();
        let object = format!("{}.o", source.name);
        let plain = compile(path, source.name, &plan, &[], &object);
        let original = compile(path, source.name, &plan, &sections, "sectioned.o");
        let patched =
            compile(path, source.name, &plan, &[&sections[..], &["-DPATCHED"]].concat(), "patched.o");
        objects.push(object);
        units.push([plain, original, patched]);
    }
    let mut inputs: Vec<LinkInput> = Vec::new();
    let input = |path: &str, member: Option<&str>, data: &[u8]| LinkInput {
        path: OsBytes::from(path.as_bytes()),
        member: member.map(|m| OsBytes::from(m.as_bytes())),
        sha256: Digest::of(data).to_string(),
        occurrence: 0,
    };
    let mut files: Vec<String> = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        if plan.archive && index > 0 {
            let member = Path::new(object).file_name().unwrap().to_str().unwrap();
            inputs.push(input("libunits.a", Some(member), &units[index][0]));
        } else {
            inputs.push(input(object, None, &units[index][0]));
            files.push(object.clone());
        }
    }
    if plan.archive {
        // `q` appends, so that two members may have one name.
        run(Command::new("ar").current_dir(path).args(["qc", "libunits.a"]).args(&objects[1..]));
        run(Command::new("ranlib").current_dir(path).arg("libunits.a"));
        files.push("libunits.a".into());
    }
    let cplusplus = sources.iter().any(|s| s.name.ends_with(".cc"));
    let driver = if cplusplus { "g++" } else { "gcc" };
    let output = if plan.library_caller.is_some() { "libtarget.so" } else { "main" };
    let mut command = Command::new(driver);
    command.current_dir(path).args(["-o", output, "-Wl,-Map=map"]).args(&files).args(plan.link);
    if plan.library_caller.is_some() {
        command.args(["-shared", "-Wl,-soname,libtarget.so"]);
    }
    run(&mut command);
    let mut executable = path.join(output);
    if let Some(text) = plan.library_caller {
        std::fs::write(path.join("caller.c"), text).unwrap();
        let args = ["-o", "caller", "caller.c", "libtarget.so", "-Wl,-rpath,$ORIGIN", "-lpthread"];
        run(Command::new(driver).current_dir(path).args(args));
        executable = path.join("caller");
    }
    run(Command::new("gcc")
        .current_dir(path)
        .args(["-w", "-shared", "-fPIC", "-o", "loader.so"])
        .arg(loader()));
    let record = LinkRecord {
        copied: Vec::new(),
        version: 1,
        id: "1".into(),
        linker: OsBytes::from(&b"ld"[..]),
        argv: Vec::new(),
        expanded_argv: plan
            .link
            .iter()
            .map(|a| OsBytes::from(a.trim_start_matches("-Wl,").as_bytes()))
            .collect(),
        cwd: OsBytes::from(path.to_str().unwrap().as_bytes()),
        output: OsBytes::from(output.as_bytes()),
        output_sha256: String::new(),
        saved: OsBytes::from(output.as_bytes()),
        map: Some(OsBytes::from(&b"map"[..])),
        map_flavour: MapFlavour::Bfd,
        inputs,
        shared_libs: vec![],
        relocatable: false,
        shared: plan.library_caller.is_some(),
        lto: false,
        phase: records::Phase::Original,
        notes: vec![],
    };
    Built {
        linked: std::fs::read(path.join(output)).unwrap(),
        map: std::fs::read_to_string(path.join("map")).unwrap_or_default(),
        record,
        units,
        executable,
        module: if plan.library_caller.is_some() { "libtarget.so" } else { "main" },
        dir,
    }
}

fn loader() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/link/loader.c")
}
