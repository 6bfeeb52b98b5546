//! What a run tells: in its report, and on the screen.

use super::comparison::Comparison;
use super::ship::Shipped;
use super::task::Task;
use crate::names::{demangled, readable};
use crate::naming::Naming;
use crate::output::{PatchReport, Report, WithoutEffect, merged};
use crate::progress::Progress;
use crate::target::Fidelity;
use std::path::{Path, PathBuf};

impl Report {
    /// Takes in what is to be done.
    pub(super) fn take_task(&mut self, task: &Task<'_>) {
        let args = &task.request.args;
        self.package = Some(task.package.nvr());
        self.patch = Some(PatchReport {
            name: task.naming.name.clone(),
            version: format!("{}-{}", args.patch_version, args.patch_release),
            cve: task.naming.cve.clone(),
            description: task.naming.description.clone(),
            ..PatchReport::default()
        });
    }

    /// Takes in what the builds have recorded so far, the original first.
    pub(super) fn take_builds(&mut self, builds: &[&wrapper::Records]) {
        let units = || builds.iter().flat_map(|records| &records.units);
        self.units.recorded = builds.first().map_or(0, |records| records.units.len());
        self.units.reused = units().filter(|u| u.reused).count();
        self.units.compiled = units().count() - self.units.reused;
        for problem in builds.iter().flat_map(|records| &records.problems) {
            let text = format!("{}: {}", problem.what, problem.why);
            if !self.problems.contains(&text) {
                self.problems.push(text);
            }
        }
    }

    /// Takes in which files the fix changes.
    pub(super) fn take_files(&mut self, files: &[PathBuf]) {
        if let Some(patch) = &mut self.patch {
            patch.files = files.iter().map(|f| f.display().to_string()).collect();
        }
    }

    /// Takes in what was found.
    pub(super) fn take_comparison(&mut self, compared: &Comparison) {
        self.warnings.extend(compared.warnings.iter().cloned());
        self.units.touched = compared.touched;
        self.units.compiled += compared.compiled;
        self.units.reused += compared.reused;
        self.fidelity = compared.elfs.iter().filter_map(|e| e.fidelity).max();
        self.elfs.clone_from(&compared.elfs);
    }

    /// Leaves out of the texts where the builds ran: nobody finds anything there afterwards.
    pub(super) fn without_places(&mut self, tops: &[&Path]) {
        let refused = self.elfs.iter_mut().flat_map(|elf| &mut elf.refused);
        for text in
            refused.flat_map(|r| [&mut r.place, &mut r.why, &mut r.remedy].into_iter().chain(&mut r.at))
        {
            for top in tops {
                let top = format!("{}/", top.display());
                if text.contains(&top) {
                    *text = text.replace(&top, "");
                }
            }
        }
    }

    /// Takes in which patch files contribute nothing. `naming` is without the CVE ids that go with them.
    pub(super) fn take_idle(&mut self, idle: &[usize], task: &Task<'_>, naming: &Naming) {
        let Some(patch) = &mut self.patch else { return };
        patch.cve.clone_from(&naming.cve);
        for number in idle {
            let ids = task.naming.by_patch.get(*number).map(Vec::as_slice).unwrap_or_default();
            let left_out = task.naming.cve.iter().filter(|id| !naming.cve.contains(id));
            let cve = left_out.filter(|id| ids.contains(&id.to_ascii_uppercase())).cloned().collect();
            let idle = WithoutEffect { file: task.patch_name(*number), cve };
            self.warnings.push(super::checks::without_effect(&idle, &naming.name));
            patch.without_effect.push(idle);
        }
    }

    /// Takes in what is shipped.
    pub(super) fn take_shipped(&mut self, shipped: &Shipped) {
        if let Some(patch) = &mut self.patch {
            patch.uuid = Some(shipped.manifest.uuid.to_string());
            patch.without_debug.clone_from(&shipped.left_out);
        }
    }

    /// Shows each change, for those who ask for more.
    pub(super) fn show_changes(&self, progress: &Progress) {
        for elf in &self.elfs {
            for detail in &elf.details {
                progress.verbose(&readable(&format!("{}: {}", elf.name, detail.explain())));
            }
        }
    }

    /// Shows the warnings.
    pub(super) fn show_warnings(&self, progress: &Progress) {
        let elfs = self.elfs.iter().flat_map(|e| &e.warnings);
        let all = self.warnings.iter().chain(elfs);
        for (what, place, why) in merged(all.map(|w| (w.what.clone(), w.place.clone(), w.why.clone()))) {
            progress.warning(&readable(&format!("{what}: {place}: {why}")));
        }
        if !self.problems.is_empty() {
            let count = self.problems.len();
            progress.warning(&format!("{count} things could not be recorded, see report.yaml"));
        }
    }

    /// Shows what the patch changes in each ELF file.
    pub(crate) fn show_result(&self, progress: &Progress) {
        for elf in &self.elfs {
            let identical = |f: Fidelity| f == Fidelity::Identical;
            let fidelity = elf.fidelity.map_or("", |f| if identical(f) { "identical" } else { "equivalent" });
            let (changed, new) = (listed(&elf.changed), listed(&elf.new));
            progress.info(&format!("{} ({fidelity}): changed {changed}; new {new}", elf.name));
        }
    }
}

/// Symbols in one line, as their authors wrote them.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().map(|n| demangled(n).unwrap_or_else(|| n.clone())).collect();
    match shown.iter().any(|name| name.contains(' ')) {
        _ if shown.is_empty() => "nothing".to_owned(),
        true => shown.join(", "),
        false => shown.join(" "),
    }
}
