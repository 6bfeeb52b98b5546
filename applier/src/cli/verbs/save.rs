//! `save` and `restore`.

use super::common::{each, load};
use crate::{
    catalog::Known,
    cli::args::{Change, DryRun, Only, Restore},
    manage::{Context, Error, Inventory},
    state::{Record, State, read_yaml, write_yaml},
};
use patchfile::{exit::ManageExit, paths, state::PatchState};
use std::path::{Path, PathBuf};

fn path(root: &Path) -> PathBuf {
    root.join(paths::STATE).join("saved.yaml")
}

/// Writes down all states.
pub(crate) fn save(ctx: &mut Context<'_>, args: &DryRun) -> Result<ManageExit, Error> {
    if !args.dry_run {
        ctx.needs_root("save", &[])?;
    }
    let inventory = if args.dry_run { Inventory::read(ctx)? } else { Inventory::lock(ctx, &[])? };
    // What is about single processes does not outlive them, let alone a reboot.
    let lasting = inventory.state.patches.iter().filter(|r| r.only.is_none());
    let lasting: Vec<_> = lasting.map(|r| Record { except: Vec::new(), ..r.clone() }).collect();
    let count = lasting.len();
    if args.dry_run {
        ctx.say(format_args!("would save the states of {count} patches"))?;
        return Ok(ManageExit::Done);
    }
    for record in &lasting {
        crate::catalog::sync_kept(&ctx.root, record.uuid).map_err(|e| Error::failed(&record.id, e))?;
    }
    let path = path(&ctx.root);
    write_yaml(&path, &State { patches: lasting, ..inventory.state }, true)
        .map_err(|e| Error::failed(path.display().to_string(), e))?;
    ctx.say(format_args!("saved the states of {count} patches"))?;
    Ok(ManageExit::Done)
}

/// Brings back the states saved; the accepted ones only, from the state itself, as the service does at boot.
pub(crate) fn restore(ctx: &mut Context<'_>, args: &Restore) -> Result<ManageExit, Error> {
    if !args.how.dry_run {
        ctx.needs_root("restore", &[])?;
    }
    let mut inventory = if args.how.dry_run { Inventory::read(ctx)? } else { Inventory::lock(ctx, &[])? };
    let path = path(&ctx.root);
    let saved = read_yaml::<State>(&path).map_err(|e| {
        Error::failed(path.display().to_string(), e).hint("it is damaged: write it again with `upatch save`")
    })?;
    let saved = saved.map_or_else(|| inventory.state.patches.clone(), |s| s.patches);
    let accepted = |r: &&Record| r.state == PatchState::Accepted;
    let wanted: Vec<Record> = if args.accepted {
        let mut all: Vec<_> = inventory.state.patches.iter().filter(accepted).cloned().collect();
        let more = saved.iter().filter(accepted).filter(|r| inventory.state.get(r.uuid).is_none());
        all.extend(more.cloned());
        all
    } else {
        saved
    };
    if wanted.is_empty() {
        ctx.say("nothing to restore")?;
    }
    let change = Change { ids: Vec::new(), only: Only::default(), how: args.how.clone() };
    each(ctx, wanted, |ctx, record| {
        let entry = inventory.catalog.get(record.uuid).cloned();
        let known = Known { entry, ..Known::without_files(record.uuid, record.id, &inventory.catalog) };
        if args.how.dry_run {
            ctx.say(format_args!("{}: would be {}", known.id, record.state))?;
            return Ok(ManageExit::Done);
        }
        match record.state {
            state if state.is_active() => {
                if super::kernel::is_elsewhere(ctx, &known)? {
                    return Ok(ManageExit::Done);
                }
                let patch = load(ctx, &known)?;
                super::apply::one(ctx, &mut inventory, "restore", &known, &patch, &change, state)
            }
            PatchState::Deactived => {
                super::deactivate::one(ctx, &mut inventory, "restore", &known, &change, false)
            }
            _ => Ok(ManageExit::Done),
        }
    })
}
