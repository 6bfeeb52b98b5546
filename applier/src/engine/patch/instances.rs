//! What a patch consists of in one process: each of its ELF files, as often as the process maps it.

use crate::{
    LoadedElf, LoadedPatch, Located, ProcessError, TargetId,
    arch::ARCH,
    engine::{
        load::{self, PendingImage, Sibling},
        target::{identity, modules::Module, process::Process},
    },
};
use patchfile::{Arch, control::Phase, mapped::MOST_HOOKS};

/// An ELF file of the patch, with a module of the process that it is for.
pub(super) struct Instance<'a> {
    pub(super) elf: &'a LoadedElf,
    pub(super) module: Module,
    /// Index among the images the process has.
    pub(super) loaded: Option<usize>,
}

/// The instances that are not loaded yet.
pub(super) fn pending<'a>(instances: &[Instance<'a>]) -> Vec<PendingImage<'a>> {
    let missing = instances.iter().filter(|i| i.loaded.is_none());
    missing
        .map(|i| PendingImage { elf: i.elf.index, image: &i.elf.image, module: i.module.clone() })
        .collect()
}

/// The modules of the process that the patch is for.
pub(super) fn find_instances<'a>(
    process: &Process,
    patch: &'a LoadedPatch,
    images: &[Located],
) -> Result<Vec<Instance<'a>>, ProcessError> {
    if process.status.shadow_stack {
        return Err(ProcessError::unfit("it runs with a shadow stack, which is not supported yet"));
    }
    let mut instances = Vec::new();
    for elf in &patch.elfs {
        let target = &elf.image.target;
        let id = TargetId { build_id: target.build_id.clone(), code: target.code };
        let fits = |m: &&Module| identity::matches(&id, m, &process.memory, process.view, &process.maps);
        for module in process.modules.iter().filter(|m| m.path != "[vdso]").filter(fits) {
            if Arch::from_e_machine(module.machine) != Some(elf.image.arch) || elf.image.arch != ARCH {
                return Err(ProcessError::unfit(format!("{} is of another architecture", module.name())));
            }
            if !load::has_control_room(&elf.image) {
                return Err(ProcessError::unfit("the patch has no room for its control block"));
            }
            if elf.image.hooks.len() > MOST_HOOKS {
                return Err(ProcessError::unfit(format!("the patch has more than {} hooks", MOST_HOOKS)));
            }
            let is = |l: &Located| {
                let c = &l.control;
                c.uuid == patch.uuid && c.elf == elf.index && c.bias == module.bias && c.phase == Phase::Ready
            };
            instances.push(Instance { elf, module: module.clone(), loaded: images.iter().position(is) });
        }
    }
    if instances.is_empty() {
        return Err(ProcessError::NotMapped);
    }
    Ok(instances)
}

/// The symbols that loaded images add to their modules.
pub(super) fn loaded<'a>(instances: &[Instance<'a>], images: &[Located]) -> Vec<Sibling<'a>> {
    let sibling = |i: &Instance<'a>| {
        let base = images.get(i.loaded?)?.address;
        Some(Sibling::new(&i.module, &i.elf.image, base))
    };
    instances.iter().filter_map(sibling).collect()
}

/// Fields of loaded images that are not in force and lead to where a sibling was: address and what belongs
/// there.
pub(super) fn outdated(
    process: &Process,
    instances: &[Instance<'_>],
    images: &[Located],
) -> Result<Vec<(u64, Vec<u8>)>, ProcessError> {
    let siblings = loaded(instances, images);
    let mut outdated = Vec::new();
    for instance in instances {
        let Some(located) = instance.loaded.and_then(|l| images.get(l)).filter(|l| !l.in_force) else {
            continue;
        };
        for (address, field) in
            load::sibling_fields(process, &instance.elf.image, located.address, &siblings)?
        {
            if process.memory.read(address, field.len())? != field {
                outdated.push((address, field));
            }
        }
    }
    Ok(outdated)
}
