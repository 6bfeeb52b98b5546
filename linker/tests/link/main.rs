//! Links patch objects of small programs and runs them: the image is loaded into a process by a loader of a
//! few lines (`loader.c`), without the applier, and the program has to print what the patched source says.
//! The same image, not active, has to leave it as it was.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod build;
mod cases;
mod debug;
mod extract;
mod new_tls;
mod refusals;
mod same_code;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use build::{Built, Plan, Source, build};
use differ::Extents;
use linker::{
    LibraryFiles, LinkError, LinkInput, LinkOutput, OriginalUnit, ParsedElf, Product, UnitPatch, addresses,
    link,
};
use patchfile::Digest;
use patchfile::image::{Image, Reference};

/// The image that was made.
fn image(output: &LinkOutput) -> &Image {
    let Product::Image(image) = &output.product;
    image
}

/// Links everything that differs by `PATCHED` in the units of these indices.
fn join(built: &Built, sources: &[Source], touched: &[usize]) -> Result<LinkOutput, LinkError> {
    join_with(built, sources, touched, &built.linked, Some(&built.map))
}

fn join_with(
    built: &Built,
    sources: &[Source],
    touched: &[usize],
    target: &[u8],
    map: Option<&str>,
) -> Result<LinkOutput, LinkError> {
    let patches: Vec<_> = touched
        .iter()
        .map(|i| {
            let [plain, original, patched] = &built.units[*i];
            (
                plain,
                Digest::of(plain).to_string(),
                extract::extract(original, patched, sources[*i].name),
                sources[*i].name,
            )
        })
        .collect();
    let nothing = Extents::default();
    let units: Vec<UnitPatch<'_>> = patches
        .iter()
        .map(|(object, sha256, patch, name)| UnitPatch {
            prebuilt: false,
            name,
            cplusplus: name.ends_with(".cc"),
            original: Some(OriginalUnit::Object { sha256, object }),
            patch,
            extents: &nothing,
        })
        .collect();
    let libc = PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6");
    let libraries = LibraryFiles::new(|path| std::fs::read(path).ok(), None, [(libc.clone(), libc)], []);
    let linked = ParsedElf::parse(&built.linked, "linked ELF")?;
    let target = ParsedElf::parse(target, "target ELF")?;
    let addresses = addresses(&linked, &target, None)?;
    link(&LinkInput {
        name: built.module,
        units: &units,
        record: &built.record,
        map,
        linked: &linked,
        target: &target,
        addresses: &*addresses,
        patched: None,
        libraries: &libraries,
        moved: &linker::MovedDefinitions::default(),
    })
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for b in bytes {
        let _ = write!(text, " {b:02x}");
    }
}

/// The form that `loader.c` reads.
fn script(image: &Image, active: bool) -> String {
    let mut text = format!("size {:x}\n", image.size());
    for segment in image.segments.iter().filter(|s| !s.data.is_empty()) {
        let _ = write!(text, "bytes {:x} {:x}", segment.address, segment.data.len());
        push_bytes(&mut text, &segment.data);
        text.push('\n');
    }
    for reference in &image.references {
        let _ = match reference {
            Reference::Image => writeln!(text, "image"),
            Reference::Target => writeln!(text, "target"),
            Reference::TargetWord { address } => writeln!(text, "word {address:x}"),
            Reference::Import { name, version, .. } => {
                writeln!(text, "import {name} {}", version.as_deref().unwrap_or("-"))
            }
            Reference::Sibling { name, .. } => panic!("{name} is in no other file"),
        };
    }
    for r in &image.relocations {
        let _ = writeln!(text, "reloc {:x} {:?} {} {}", r.address, r.kind, r.reference, r.addend);
    }
    if let Some(unwind) = &image.unwind {
        let _ = writeln!(text, "frames {:x}", unwind.eh_frame);
    }
    for (index, r) in image.redirects.iter().enumerate() {
        let Some(resume) = r.resume else { continue };
        let site = r.old + u64::from(r.skip);
        let _ = write!(text, "redirect {site:x} {:x} {index:x} {resume:x}", r.stub);
        push_bytes(&mut text, &r.original[..5]);
        text.push('\n');
    }
    let _ = writeln!(text, "active {}", u8::from(active));
    text
}

fn execute(built: &Built, image: Option<(&Image, bool)>) -> String {
    let mut command = Command::new(&built.executable);
    if let Some((image, active)) = image {
        let path = built.dir.path().join("image.txt");
        std::fs::write(&path, script(image, active)).unwrap();
        command
            .env("IMAGE", path)
            .env("MODULE", built.module)
            .env("LD_PRELOAD", built.dir.path().join("loader.so"));
    }
    build::run(&mut command)
}

/// Builds, links, and compares what the program prints: unpatched, with the image loaded but not active, and
/// active.
fn check(
    plan: Plan,
    sources: &[Source],
    touched: &[usize],
    before: &str,
    after: &str,
) -> (Built, LinkOutput) {
    let built = build(plan, sources);
    assert_eq!(execute(&built, None), before, "the program as built");
    let output = join(&built, sources, touched).unwrap();
    verify(image(&output));
    assert_eq!(execute(&built, Some((image(&output), false))), before, "loaded, not active");
    assert_eq!(execute(&built, Some((image(&output), true))), after, "active");
    (built, output)
}

/// What the applier relies on.
fn verify(image: &Image) {
    let again = Image::parse(&image.write().unwrap()).unwrap();
    assert_eq!(*image, again, "the image survives being written and read");
    for segment in &image.segments[1..] {
        assert!(segment.data.len() as u64 <= segment.size);
    }
    for r in &image.redirects {
        assert!(image.segment_at(r.new, 1).is_some() && image.segment_at(r.stub, 19).is_some());
    }
}
