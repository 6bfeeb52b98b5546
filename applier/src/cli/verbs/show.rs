//! `info` and `target`.

use crate::{
    catalog::{Entry, Known},
    cli::{args::Show, report},
    manage::kernel::{image, note_on_modules},
    manage::{Context, Error, Inventory, TargetIndex, view},
};
use patchfile::exit::ManageExit;
use serde_json::json;

fn entries(ctx: &Context<'_>, inventory: &Inventory, args: &Show) -> Result<Vec<(Known, Entry)>, Error> {
    let known = inventory.resolve(ctx, &args.ids)?;
    let with_entry = known.into_iter().map(|known| match known.entry.clone() {
        Some(entry) => Ok((known, entry)),
        None => Err(Error::absent(&known, "`upatch status` shows which processes still have it")),
    });
    with_entry.collect()
}

/// The manifest.
pub(crate) fn info(ctx: &mut Context<'_>, args: &Show) -> Result<ManageExit, Error> {
    let inventory = Inventory::read(ctx)?;
    let entries = entries(ctx, &inventory, args)?;
    let mut printed = Vec::new();
    for (index, (known, entry)) in entries.into_iter().enumerate() {
        let wanted = TargetIndex::new([&known]);
        let survey = ctx.backend.survey(&wanted.targets, &args.only.pids);
        let state = view(ctx, &inventory, known, &wanted.elfs[0], &survey).state;
        let m = &entry.manifest;
        if args.json {
            let mut value = serde_json::to_value(m).map_err(|e| Error::failed(m.id(), e))?;
            value["id"] = json!(m.id());
            value["state"] = json!(state);
            value["directory"] = json!(entry.directory.display().to_string());
            printed.push(value);
            continue;
        }
        if index > 0 {
            ctx.say("")?;
        }
        let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let kind = match m.kind {
            patchfile::manifest::Kind::User => "user",
            patchfile::manifest::Kind::Kernel => "kernel",
        };
        let fields = [
            ("id", m.id()),
            ("uuid", m.uuid.to_string()),
            ("name", m.name.clone()),
            ("version", m.version.to_string()),
            ("release", m.release.to_string()),
            ("arch", m.arch.to_string()),
            ("type", kind.into()),
            ("target", m.package.nvr()),
            ("state", state.to_string()),
            ("license", or_none(m.license.clone())),
            ("cve", or_none(m.cve.join(" "))),
            ("description", or_none(m.description.clone())),
            ("digest", m.digest.map_or("-".into(), |d| d.to_string())),
            ("directory", entry.directory.display().to_string()),
        ];
        for (name, value) in fields {
            ctx.say(format_args!("{:<12} {value}", format!("{name}:")))?;
        }
        if let Some(kernel) = &m.kernel {
            let fields = [
                ("kernel", kernel.release.clone()),
                ("build-id", kernel.build_id.to_string()),
                ("module", kernel.module.clone()),
                ("objects", kernel.objects.join(" ")),
                ("compiler", kernel.compiler.clone()),
            ];
            for (name, value) in fields {
                ctx.say(format_args!("{:<12} {value}", format!("{name}:")))?;
            }
            let loaded = entry.load(ctx.owner).ok();
            let note = note_on_modules(&ctx.backend.kernel(), m, loaded.as_ref().map(image));
            if let Some(note) = note {
                ctx.say(format_args!("{:<12} {note}", "note:"))?;
            }
        }
        for elf in &m.elfs {
            ctx.say(format_args!("{:<12} {} ({})", "elf:", elf.path, elf.patch))?;
            if !elf.also.is_empty() {
                ctx.say(format_args!("{:<12}   also: {}", "", elf.also.join(" ")))?;
            }
            ctx.say(format_args!("{:<12}   changed: {}", "", or_none(elf.changed.join(" "))))?;
            ctx.say(format_args!("{:<12}   new: {}", "", or_none(elf.new.join(" "))))?;
        }
        for source in &m.sources {
            ctx.say(format_args!("{:<12} {} (sha256 {})", "source:", source.file, source.sha256))?;
        }
    }
    if args.json {
        report::json(ctx, &json!({ "patches": printed }))?;
    }
    Ok(ManageExit::Done)
}

/// What patches fit.
pub(crate) fn target(ctx: &mut Context<'_>, args: &Show) -> Result<ManageExit, Error> {
    let inventory = Inventory::read(ctx)?;
    let entries = entries(ctx, &inventory, args)?;
    let mut printed = Vec::new();
    for (_, entry) in entries {
        let m = &entry.manifest;
        let p = &m.package;
        if args.json {
            let elf = |e: &patchfile::manifest::Elf| {
                json!({
                    "name": e.name, "path": e.path, "also": e.also, "build_id": e.build_id, "code": e.code,
                })
            };
            printed.push(json!({
                "id": m.id(),
                "uuid": m.uuid,
                "package": {
                    "name": p.name, "epoch": p.epoch, "version": p.version, "release": p.release,
                    "nvr": p.nvr(),
                },
                "arch": m.arch,
                "elfs": m.elfs.iter().map(elf).collect::<Vec<_>>(),
            }));
            continue;
        }
        let epoch = p.epoch.map_or(String::new(), |e| format!(" (epoch {e})"));
        ctx.say(format_args!("{}: {}{epoch} {}", m.id(), p.nvr(), m.arch))?;
        for elf in &m.elfs {
            let build =
                elf.build_id.as_ref().map_or(format!("no build-id, code {}", elf.code), ToString::to_string);
            for path in elf.paths() {
                ctx.say(format_args!("  {path}  {build}"))?;
            }
        }
    }
    if args.json {
        report::json(ctx, &json!({ "patches": printed }))?;
    }
    Ok(ManageExit::Done)
}
