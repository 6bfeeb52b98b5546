//! The readers on real kernels: folders of the one that `KERNELS` names, each with an unpacked `vmlinux` and
//! its `lib/modules`.

use std::fs;
use std::path::Path;

use linker::{KernelImage, KernelModuleFile};

/// Modules that are read of each kernel.
const MODULES: usize = 40;

#[test]
fn real_kernels_are_read() {
    let Some(kernels) = std::env::var_os("KERNELS") else {
        eprintln!("SKIPPED: no real kernel is read, since KERNELS does not name a folder of them");
        return;
    };
    let mut read = 0;
    for folder in fs::read_dir(&kernels).unwrap().map(|f| f.unwrap().path()) {
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
    assert!(read > 0, "no kernel in {kernels:?}");
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
