//! A run, step by step.

use super::compiler::Compiler;
use super::devel::Devel;
use super::kbuild::Kbuild;
use super::overlay::Overlay;
use super::ship::{self, Ingredients};
use super::source::Source;
use super::target::{Shipped, ShippedModule};
use super::touched::Reach;
use super::tree::PreparedTree;
use super::units::{self, Unit};
use super::{callbacks, candidates, hook, module, warnings};
use crate::cli::KernelRequest;
use crate::error::{Context, Failure, KernelError, Result};
use crate::naming::Naming;
use crate::output::{
    Detail, ElfReport, PatchPackage, PatchReport, Refused, Report, RpmInput, Staged, Warned, locate,
};
use crate::pipeline::{end, name};
use crate::prep::apply_fix;
use crate::progress::{Progress, Step};
use crate::scratch::Work;
use crate::source::SpecSource;
use crate::target::Fidelity;
use differ::{ChangeKind, KernelOptions};
use linker::LinkError;
use linker::{
    KernelContext, KernelImage, KernelModuleFile, KernelObject, KernelUnit, Parts, Symvers, fidelity, finish,
    parts,
};
use patchfile::Arch;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// Makes the patch. `report` is filled in as far as the run comes.
///
/// # Errors
/// With the exit code of the contract.
pub(crate) fn run(request: &KernelRequest, progress: &mut Progress, report: &mut Report) -> Result<()> {
    progress.begin(Step::Prepare);
    let args = &request.args;
    let mut staged = Staged::new(&args.output)?;
    let work =
        Work::create(args.workdir.as_deref(), &format!("kernel-{}", request.release), args.keep_workdir)?;
    if args.keep_workdir {
        progress.info(&format!("scratch directory: {}", work.root().display()));
    }
    let made = match args.tree_only {
        true => only_tree(request, progress, report, &work),
        false => make(request, progress, report, &work, &mut staged),
    };
    end(made, staged, &args.output, report)
}

/// Prepares the tree, if the store has none yet, and prints where it is.
fn only_tree(
    request: &KernelRequest,
    progress: &mut Progress,
    report: &mut Report,
    work: &Work,
) -> Result<()> {
    report.package = Some(request.package.nvr());
    let devel = Devel::find(request, &work.path("devel"))?;
    let compiler = Compiler::find(request, &devel.config)?;
    let source = Source::find(request, work)?;
    progress.begin(Step::KernelTree);
    let tree = PreparedTree::take(request, &source, &devel, compiler, work, progress)?;
    writeln!(std::io::stdout(), "{}", tree.dir.display()).what("standard output")
}

fn make(
    request: &KernelRequest,
    progress: &mut Progress,
    report: &mut Report,
    work: &Work,
    staged: &mut Staged,
) -> Result<()> {
    let naming = name(&request.args, &request.patches, None)?;
    report.package = Some(request.package.nvr());
    report.patch = Some(PatchReport {
        name: naming.name.clone(),
        version: format!("{}-{}", request.args.patch_version, request.args.patch_release),
        cve: naming.cve.clone(),
        description: naming.description.clone(),
        ..PatchReport::default()
    });
    let devel = Devel::find(request, &work.path("devel"))?;
    let unfit = devel.refused();
    if !unfit.is_empty() {
        return Err(refused(report, unfit));
    }
    let shipped = Shipped::find(request, &work.path("target"))?;
    let compiler = Compiler::find(request, &devel.config)?;
    let source = Source::find(request, work)?;
    if request.args.srpm_only {
        progress.begin(Step::Package);
        let spec = source.spec(request)?;
        let srpm = packages(request, &naming, work, spec.as_ref()).source_rpm()?;
        return staged.file(&srpm);
    }

    progress.begin(Step::KernelTree);
    let tree = PreparedTree::take(request, &source, &devel, compiler, work, progress)?;

    progress.begin(Step::Compile);
    let mut overlay = Overlay::new(&tree.dir, &work.path("patched"))?;
    for file in files_of(request)? {
        overlay.own(&file)?;
    }
    let applied = apply_fix(overlay.root(), &request.patches, request.args.strip, true)?;
    if let Some(patch) = &mut report.patch {
        patch.files = applied.files.iter().map(|f| f.display().to_string()).collect();
    }
    let changed: BTreeSet<PathBuf> = applied.files.iter().cloned().collect();
    let mut kbuild = Kbuild::new(&tree, &work.path("tmp"))?;
    let mut reach = Reach::of(&applied.files, &tree, &mut kbuild)?;
    if !reach.refused.is_empty() {
        return Err(refused(report, reach.refused));
    }
    candidates::add(&mut reach, &tree, &mut kbuild, progress)?;
    report.warnings.extend(reach.warnings(&tree));
    report.warnings.iter().for_each(|w| progress.warning(&format!("{}: {}: {}", w.what, w.place, w.why)));
    if reach.units.is_empty() {
        return Err(nothing(&reach, request));
    }
    let mut refusals = std::mem::take(&mut reach.refused);
    let (mut units, made) = units::compile(&reach.units, &tree, &mut overlay, &changed, work, &mut refusals)?;
    report.units.recorded = reach.units.len();
    report.units.touched = units.len();
    report.units.reused = reach.units.len() - made;
    report.units.compiled = reach.units.len() + made;
    if units.is_empty() && refusals.is_empty() {
        return Err(nothing(&reach, request));
    }

    progress.begin(Step::Compare);
    let image = KernelImage::read(&shipped.image).map_err(KernelError::Link)?;
    let options = units::kernel_options(&image);
    for unit in &mut units {
        unit.compare(&options)?;
    }
    let symvers = Symvers::read(&devel.symvers).map_err(KernelError::Link)?;
    let modules = modules(&units, &shipped)?;
    let read: Vec<KernelModuleFile> = modules
        .iter()
        .map(|m| KernelModuleFile::read(&m.name, &m.data))
        .collect::<std::result::Result<_, _>>()
        .map_err(KernelError::Link)?;
    let context = KernelContext { image: &image, modules: &read, symvers: &symvers };
    report.elfs = reports(&units, &modules, &shipped, request);
    refusals.extend(report.elfs.iter().flat_map(|e| e.refused.clone()));
    show_warnings(report, progress);
    if !refusals.is_empty() {
        locate(&mut refusals, |name| declarations(&units, name));
        for elf in &mut report.elfs {
            locate(&mut elf.refused, |name| declarations(&units, name));
        }
        return Err(crate::output::refusals(&refusals).into());
    }
    units.retain(|u| u.diff.patch.is_some());
    if units.is_empty() {
        return Err(nothing(&reach, request));
    }
    progress.begin(Step::Fidelity);
    check_fit(&units, &context, report)?;

    progress.begin(Step::Link);
    let parts = join(&mut units, &context, &options, report)?;
    let warned = warnings::of(&parts, &image);
    warned.iter().for_each(|w| progress.warning(&format!("{}: {}: {}", w.what, w.place, w.why)));
    report.warnings.extend(warned);
    report.elfs = reports(&units, &modules, &shipped, request);
    report.elfs.iter_mut().for_each(|e| e.fidelity = Some(Fidelity::Identical));
    report.fidelity = Some(Fidelity::Identical);
    let vermagic = vermagic(&read, &tree);
    let compiler = tree.compiler.version.clone();
    let arch = if tree.srcarch == "arm64" { Arch::Aarch64 } else { Arch::X86_64 };
    let ingredients = Ingredients {
        request,
        naming: &naming,
        shipped: &shipped,
        modules: &modules,
        units: &units,
        compiler: &compiler,
        vermagic: &vermagic,
        arch,
    };
    let mut manifest = ship::manifest(&ingredients, &parts)?;
    let text = hook::source(&parts, &callbacks::collect(&units), &manifest.uuid.to_string());
    let name = manifest.kernel.as_ref().map(|k| k.module.clone()).unwrap_or_default();
    let linked = module::link(module::Sources { name: &name, hook: &text }, &parts, &units, &tree, work)?;
    let mut finished = match finish(&linked, &parts, &context) {
        Ok(module) => module,
        Err(LinkError::Refused(all)) => return Err(refused(report, all.iter().map(Refused::from).collect())),
        Err(e) => return Err(KernelError::Link(e).into()),
    };
    if let (Some(key), Some(cert)) = (&request.args.sign_key, &request.args.sign_cert) {
        let path = work.path("module").join("signed.ko");
        std::fs::write(&path, &finished).writing(&path)?;
        module::sign(&path, key, cert, &tree)?;
        finished = std::fs::read(&path).at(&path)?;
    }

    progress.begin(Step::Package);
    ship::seal(&mut manifest, &finished)?;
    let dir = staged.patch_directory(&manifest, &[(format!("{name}.ko"), finished)])?;
    if request.rpm {
        let spec = source.spec(request)?;
        for file in packages(request, &naming, work, spec.as_ref())
            .rpms(&RpmInput { manifest: &manifest, dir: &dir })?
        {
            staged.file(&file)?;
        }
    }
    if let Some(patch) = &mut report.patch {
        patch.uuid = Some(manifest.uuid.to_string());
    }
    report.show_result(progress);
    Ok(())
}

/// The patch objects as parts; callers of what cannot be redirected are replaced too where that helps.
fn join(
    units: &mut [Unit],
    context: &KernelContext<'_>,
    options: &KernelOptions,
    report: &mut Report,
) -> Result<Parts> {
    loop {
        let inputs: Vec<KernelUnit<'_>> = units
            .iter()
            .filter_map(|u| {
                let patch = u.diff.patch.as_ref()?;
                Some(KernelUnit { name: &u.name, object: u.object.clone(), original: &u.original, patch })
            })
            .collect();
        let refusals = match parts(&inputs, context) {
            Ok(parts) => return Ok(parts),
            Err(LinkError::Refused(all)) => {
                return Err(refused(report, all.iter().map(Refused::from).collect()));
            }
            Err(LinkError::NoRoom { refusals, functions }) => (refusals, functions),
            Err(e) => return Err(KernelError::Link(e).into()),
        };
        let (refusals, functions) = refusals;
        let mut helped = false;
        for (number, unit) in units.iter_mut().enumerate() {
            let names: Vec<String> =
                functions.iter().filter(|(of, _)| *of == number).map(|(_, n)| n.clone()).collect();
            if !names.is_empty() {
                helped |= unit.with_callers(&names, options)?;
            }
        }
        let more: Vec<Refused> = units.iter().flat_map(|u| &u.diff.refused).map(Refused::from).collect();
        if !helped || !more.is_empty() {
            let mut all: Vec<Refused> = refusals.iter().map(Refused::from).collect();
            all.extend(more);
            return Err(refused(report, all));
        }
    }
}

/// Is the shipped kernel the one that the units were compiled for?
fn check_fit(units: &[Unit], context: &KernelContext<'_>, report: &mut Report) -> Result<()> {
    for unit in units {
        let fit = fidelity(&unit.name, &unit.object, &unit.original, context).map_err(KernelError::Link)?;
        let Some(patch) = &unit.diff.patch else { continue };
        let bad = fit.contradicting(patch);
        if bad.is_empty() {
            continue;
        }
        let said: Vec<String> = bad.iter().take(3).map(|f| format!("{}: {}", f.name, f.found)).collect();
        let why =
            format!("{} of {} differs from the rebuild: {}", bad.len(), unit.object.name(), said.join("; "));
        if let Some(elf) = report.elfs.iter_mut().find(|e| KernelObject::of_path(&e.name) == unit.object) {
            elf.fidelity = Some(Fidelity::Mismatch);
            elf.difference = why.clone();
        }
        return Err(KernelError::Mismatch { unit: unit.name.clone(), why }.into());
    }
    Ok(())
}

fn modules(units: &[Unit], shipped: &Shipped) -> Result<Vec<ShippedModule>> {
    let names: BTreeSet<&String> = units.iter().filter_map(|u| u.modfile.as_ref()).collect();
    names.into_iter().map(|name| shipped.module(name)).collect()
}

/// What the report says of each object that is patched.
fn reports(
    units: &[Unit],
    modules: &[ShippedModule],
    shipped: &Shipped,
    request: &KernelRequest,
) -> Vec<ElfReport> {
    let mut objects: Vec<&KernelObject> = units.iter().map(|u| &u.object).collect();
    objects.sort();
    objects.dedup();
    let mut all = Vec::new();
    for object in objects {
        let found = modules.iter().find(|m| KernelObject::of_path(&m.name) == *object);
        let mut elf = ElfReport {
            name: found.map_or("vmlinux".to_owned(), |m| m.name.clone()),
            path: found.map_or(format!("/boot/vmlinuz-{}", request.release), |m| m.path.clone()),
            build_id: Some(
                found
                    .map_or(Some(shipped.build_id.clone()), |m| m.build_id.clone())
                    .map(|b| b.to_string())
                    .unwrap_or_default(),
            ),
            ..ElfReport::default()
        };
        for unit in units.iter().filter(|u| u.object == *object) {
            let diff = &unit.diff;
            for (change, kind) in diff
                .functions
                .iter()
                .map(|c| (c, "function"))
                .chain(diff.objects.iter().map(|c| (c, "object")))
            {
                match change.kind {
                    ChangeKind::Changed => elf.changed.push(change.name.clone()),
                    ChangeKind::New => elf.new.push(change.name.clone()),
                    ChangeKind::Removed => elf.removed.push(change.name.clone()),
                }
                elf.details.push(Detail {
                    name: change.name.clone(),
                    kind,
                    change: change.kind,
                    unit: unit.name.clone(),
                    reasons: change.reasons.clone(),
                    inlines: Vec::new(),
                });
            }
            elf.refused.extend(diff.refused.iter().map(Refused::from));
            elf.warnings.extend(diff.warnings.iter().map(Warned::from));
        }
        all.push(elf);
    }
    all
}

fn show_warnings(report: &Report, progress: &Progress) {
    for elf in &report.elfs {
        for detail in &elf.details {
            progress.verbose(&format!("{}: {}", elf.name, detail.explain()));
        }
        for w in &elf.warnings {
            progress.warning(&format!("{}: {}: {}", w.what, w.place, w.why));
        }
    }
}

/// What both objects of a unit declare.
fn declarations(units: &[Unit], name: &str) -> Option<[differ::Declarations; 2]> {
    let unit = units.iter().find(|u| u.name == name)?;
    Some([differ::declarations(&unit.original).ok()?, differ::declarations(&unit.patched).ok()?])
}

/// Refusals that belong to no object yet go into the report with the first.
fn refused(report: &mut Report, all: Vec<Refused>) -> Failure {
    let failure = crate::output::refusals(&all).into();
    if report.elfs.is_empty() {
        report.elfs.push(ElfReport { name: "vmlinux".into(), ..ElfReport::default() });
    }
    if let Some(elf) = report.elfs.first_mut() {
        elf.refused.extend(all);
    }
    failure
}

/// Nothing is left of the fix.
fn nothing(reach: &Reach, request: &KernelRequest) -> Failure {
    KernelError::Nothing { unused: reach.unused.clone(), release: request.release.clone() }.into()
}

/// The packages of the patch.
fn packages<'a>(
    request: &'a KernelRequest,
    naming: &'a Naming,
    work: &'a Work,
    source: Option<&'a SpecSource>,
) -> PatchPackage<'a> {
    PatchPackage {
        args: &request.args,
        work,
        naming,
        package: &request.package,
        source,
        requires: "kernel-uname-r",
        kernel: Some(&request.release),
        patches: &request.patches,
    }
}

/// The files that the fix names.
fn files_of(request: &KernelRequest) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for patch in &request.patches {
        let data = std::fs::read(patch).at(patch)?;
        let files = crate::prep::touched_files(&data, request.args.strip);
        all.extend(files.old.into_iter().chain(files.new));
    }
    Ok(all)
}

/// `vermagic` of the kernel's modules: as a shipped one has it, else as the tree makes it.
fn vermagic(modules: &[KernelModuleFile], tree: &PreparedTree) -> String {
    modules.iter().find_map(|m| m.information("vermagic")).unwrap_or_else(|| {
        let on =
            |name: &str, text: &str| if tree.config.is_on(name) { text.to_owned() } else { String::new() };
        let preempt = match (tree.config.is_on("PREEMPT_RT"), tree.config.is_on("PREEMPT_BUILD")) {
            (true, _) => "preempt_rt ",
            (_, true) => "preempt ",
            _ => "",
        };
        format!(
            "{} {}{preempt}{}{}",
            tree.release,
            on("SMP", "SMP "),
            on("MODULE_UNLOAD", "mod_unload "),
            on("MODVERSIONS", "modversions ")
        )
    })
}
