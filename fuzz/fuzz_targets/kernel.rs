//! The readers of kernels and of their modules, and what holds a unit against them: damaged files are
//! answered with an error or with differences.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linker::{KernelContext, KernelImage, KernelModuleFile, KernelObject, Parts, Symvers, fidelity, finish};

/// A little kernel, against which units are held.
static SEED: &[u8] = include_bytes!("../corpus/kernel/seed-vmlinux");

fuzz_target!(|data: &[u8]| {
    let text = std::str::from_utf8(data).ok();
    let symvers = text.and_then(|text| Symvers::read(text).ok()).unwrap_or_default();
    if let Ok(image) = KernelImage::read(data) {
        let _ = (image.banner(), image.build_id(), image.structure_size("alt_instr"));
        for symbol in image.symbols() {
            let _ = (image.is_traceable(symbol.address), image.is_sealed(symbol.address));
            let _ = (image.bytes(symbol.address, 16), image.named(&symbol.name).count());
        }
        let context = KernelContext { image: &image, modules: &[], symvers: &symvers };
        let _ = fidelity("unit", &KernelObject::Kernel, data, &context);
    }
    let Ok(image) = KernelImage::read(SEED) else { return };
    let modules: Vec<_> = KernelModuleFile::read("unit.ko", data).into_iter().collect();
    let context = KernelContext { image: &image, modules: &modules, symvers: &symvers };
    let _ = fidelity("unit", &KernelObject::Kernel, data, &context);
    for module in &modules {
        let _ = (module.build_id(), module.information("vermagic"));
        let _ = fidelity("unit", &KernelObject::Module(module.name.clone()), data, &context);
    }
    let parts = Parts { objects: Vec::new(), functions: Vec::new(), references: Vec::new() };
    if let Ok(finished) = finish(data, &parts, &context) {
        let again = finish(&finished, &parts, &context).expect("what was written is read again");
        assert_eq!(again, finished);
    }
});
