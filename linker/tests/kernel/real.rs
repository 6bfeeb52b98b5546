//! The readers on real kernels: those that `scripts/kernel` has fetched, each with an unpacked `vmlinux`,
//! which tests that need machines leave there, and its `lib/modules`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use linker::{KernelImage, KernelModuleFile};

/// Modules that are read of each kernel.
const MODULES: usize = 40;

#[test]
fn real_kernels_are_read() {
    let named = std::env::var_os("UPATCH_KERNELS").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/upatch-kernels"));
    let kernels = named.or_else(home).unwrap_or_default();
    let mut read = 0;
    for folder in fs::read_dir(&kernels).into_iter().flatten().map(|f| f.unwrap().path()) {
        let Ok(vmlinux) = fs::read(folder.join("vmlinux")) else { continue };
        let image = KernelImage::read(&vmlinux).unwrap();
        let symbols = image.symbols();
        assert!(symbols.len() > 50_000 && symbols.is_sorted_by_key(|s| s.address), "{}", symbols.len());
        assert!(image.banner().unwrap().starts_with("Linux version "));
        assert!(image.build_id().is_some());
        assert_eq!(image.structure_size("exception_table_entry"), Some(12));
        let traced = symbols.iter().filter(|s| s.is_code() && image.is_traceable(s.address)).count();
        assert!(traced > 20_000, "{traced} functions are traced");
        let mut modules = Vec::new();
        modules_below(&folder.join("lib/modules"), &mut modules);
        for path in &modules {
            let module =
                KernelModuleFile::read(&path.display().to_string(), &fs::read(path).unwrap()).unwrap();
            assert!(module.information("vermagic").is_some() && module.build_id().is_some());
        }
        read += 1;
    }
    if read == 0 {
        // Past the test's own output, which is shown only of tests that fail.
        let said = format!("SKIPPED: no kernel with an unpacked vmlinux in {}\n", kernels.display());
        std::io::stderr().write_all(said.as_bytes()).unwrap();
    }
}

fn modules_below(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path()) {
        if found.len() == MODULES {
            return;
        }
        if entry.is_dir() {
            modules_below(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "ko") {
            found.push(entry);
        }
    }
}
