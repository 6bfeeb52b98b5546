//! The manifest and the files of a finished patch.

use super::debug;
use crate::error::{Context, Result};
use crate::naming::Naming;
use crate::pipeline::compare::Joined;
use crate::pipeline::task::Task;
use crate::target::TargetFile;
use linker::Product;
use patchfile::image::DebugLink;
use patchfile::manifest::{self, Kind};
use patchfile::{Arch, Digest, Manifest, paths};
use std::collections::BTreeSet;

/// What is written.
pub(in crate::pipeline) struct Shipped {
    /// Sealed.
    pub(in crate::pipeline) manifest: Manifest,
    /// By name the patch ELF files and those with their debug information.
    pub(in crate::pipeline) files: Vec<(String, Vec<u8>)>,
    /// Units without debug information, and why.
    pub(in crate::pipeline) left_out: Vec<String>,
}

/// Makes the sealed manifest and the files beside it.
pub(in crate::pipeline) fn make(
    task: &Task<'_>,
    naming: &Naming,
    joined: &[Joined],
    targets: &[TargetFile],
) -> Result<Shipped> {
    let Task { request, work, source, patches, package, .. } = task;
    let arch =
        joined.first().and_then(|j| targets[j.target].elf.arch).or(Arch::native()).unwrap_or(Arch::X86_64);
    let sources_at = debug::Sources::new(work, package, arch.name());
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    let mut elfs = Vec::new();
    let mut taken = BTreeSet::new();
    for one in joined {
        let target = &targets[one.target];
        // Two directories of a package may hold files of one name.
        let mut file = format!("{}.{}", safe(&target.name), paths::EXTENSION);
        let mut number = 2;
        while !taken.insert(file.clone()) {
            file = format!("{}-{number}.{}", safe(&target.name), paths::EXTENSION);
            number += 1;
        }
        let debug = debug::collect(one, &sources_at);
        left_out.extend(debug.left_out.into_iter().map(|why| format!("{}: {why}", target.name)));
        let Product::Image(image) = &one.output.product;
        let debug = image.write_debug(&debug.sections);
        let link =
            DebugLink { file: format!("{file}.{}", paths::DEBUG_EXTENSION), crc: crc32fast::hash(&debug) };
        let data = image.write_with(Some(&link)).what(format!("patch for {}", target.name))?;
        let names = |list: &mut dyn Iterator<Item = &String>| {
            list.cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        elfs.push(manifest::Elf {
            name: target.name.clone(),
            path: target.path.clone(),
            also: target.also.clone(),
            build_id: target.elf.build_id.clone(),
            code: target.elf.code,
            patch: file.clone(),
            sha256: Digest::of(&data),
            changed: names(&mut one.output.changed.iter().map(|c| &c.name)),
            new: names(&mut one.output.new.iter().filter(|n| n.function).map(|n| &n.name)),
        });
        files.push((file, data));
        files.push((link.file, debug));
    }
    let mut sources = Vec::new();
    for patch in patches {
        let data = std::fs::read(patch).at(patch)?;
        let file = patch.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sources.push(manifest::Source { file, sha256: Digest::of(&data) });
    }
    // Readers of version 1 know of one path only.
    let plain =
        if elfs.iter().all(|e| e.also.is_empty()) { manifest::FORMAT } else { manifest::FORMAT_SIBLINGS };
    let format = |j: &Joined| {
        let Product::Image(image) = &j.output.product;
        image.format()
    };
    let mut manifest = Manifest {
        format: joined.iter().map(format).max().unwrap_or(manifest::FORMAT).max(plain),
        uuid: patchfile::Uuid::from_bytes([0; 16]),
        name: naming.name.clone(),
        version: request.args.patch_version,
        release: request.args.patch_release,
        arch,
        kind: Kind::User,
        package: package.clone(),
        kernel: None,
        cve: naming.cve.clone(),
        license: source.license(),
        description: naming.description.clone(),
        sources,
        elfs,
        digest: None,
    };
    manifest.seal().what("manifest")?;
    Ok(Shipped { manifest, files, left_out })
}

/// A plain file name that does not begin with a dot.
fn safe(name: &str) -> String {
    let name: String = name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    name.trim_start_matches('.').to_owned()
}
