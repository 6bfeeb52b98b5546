//! The manifest of a patch for the kernel.

use patchfile::{
    Arch, BuildId, Digest, Manifest, Uuid,
    kernel::Kernel,
    manifest::{Elf, FORMAT, FORMAT_KERNEL, Kind, Package},
};

fn elf(name: &str, build: u8) -> Elf {
    Elf {
        name: name.into(),
        path: format!("/boot/{name}"),
        also: vec![],
        build_id: BuildId::new([build; 20]),
        code: Digest::of(&[build]),
        patch: "upatch_CVE_2026_52930.ko".into(),
        sha256: Digest::of(b"the module"),
        changed: vec!["crypto_authenc_esn_decrypt".into()],
        new: vec![],
    }
}

#[expect(clippy::unwrap_used, reason = "a sample that is right")]
fn sample() -> Manifest {
    Manifest {
        format: FORMAT_KERNEL,
        uuid: Uuid::from_digest(&Digest::of(b"what goes into the module")),
        name: "CVE-2026-52930".into(),
        version: 1,
        release: 1,
        arch: Arch::X86_64,
        kind: Kind::Kernel,
        package: Package {
            name: "linux".into(),
            epoch: None,
            version: "6.1.192".into(),
            release: "3".into(),
        },
        kernel: Some(Kernel {
            release: "6.1.0-57-amd64".into(),
            build_id: BuildId::new([1; 20]).unwrap(),
            vermagic: "6.1.0-57-amd64 SMP preempt mod_unload modversions ".into(),
            module: "upatch_CVE_2026_52930".into(),
            objects: vec!["vmlinux".into(), "nf_tables".into()],
            compiler: "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0".into(),
        }),
        cve: vec![],
        license: "GPL-2.0".into(),
        description: String::new(),
        sources: vec![],
        elfs: vec![elf("vmlinux", 1), elf("nf-tables.ko", 2)],
        digest: None,
    }
}

#[test]
fn reads_back_with_the_uuid_that_the_module_has() {
    let mut manifest = sample();
    manifest.seal().unwrap();
    assert_eq!(manifest.uuid, sample().uuid);
    assert_eq!(Manifest::parse(&manifest.text().unwrap()).unwrap(), manifest);
}

#[test]
fn unknown_fields_and_edited_ones_are_refused() {
    let mut manifest = sample();
    manifest.seal().unwrap();
    let text = manifest.text().unwrap();
    assert!(Manifest::parse(&text.replace("  compiler:", "  compilers: x\n  compiler:")).is_err());
    assert!(Manifest::parse(&text.replace("6.1.0-57-amd64\n", "6.1.0-58-amd64\n")).is_err());
}

/// A change that makes the sample unusable, and the field that is named then.
type Wrong = (fn(&mut Manifest), &'static str);

#[test]
fn what_does_not_belong_together_is_refused() {
    fn kernel(m: &mut Manifest, change: fn(&mut Kernel)) {
        m.kernel.as_mut().map(change);
    }
    let wrong: [Wrong; 13] = [
        (|m| m.kernel = None, "kernel"),
        (|m| m.kind = Kind::User, "kernel"),
        (|m| m.format = FORMAT, "format"),
        (|m| (m.kernel, m.kind) = (None, Kind::User), "format"),
        (|m| kernel(m, |k| k.module = "livepatch".into()), "kernel.module"),
        (|m| kernel(m, |k| k.module = "upatch_../x".into()), "kernel.module"),
        (|m| kernel(m, |k| k.release = "../6.1".into()), "kernel.release"),
        (|m| kernel(m, |k| k.objects = vec!["vmlinux".into()]), "kernel.objects"),
        (|m| kernel(m, |k| k.objects[1] = "../x".into()), "kernel.objects"),
        (|m| m.elfs[1].patch = "other.ko".into(), "elfs.patch"),
        (|m| m.elfs.iter_mut().for_each(|e| e.patch = "other.ko".into()), "elfs.patch"),
        (|m| m.elfs[1].sha256 = Digest::of(b"other"), "elfs.patch"),
        (|m| m.elfs[1] = elf("vmlinux", 3), "kernel.objects"),
    ];
    for (at, (change, field)) in wrong.into_iter().enumerate() {
        let mut manifest = sample();
        change(&mut manifest);
        let error = manifest.seal().unwrap_err().to_string();
        assert!(error.contains(&format!("field {field}:")), "{at}: {error}");
    }
}
