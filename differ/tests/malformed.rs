//! Damaged objects are answered with an error or a comparison, never with a panic.
#![expect(clippy::unwrap_used, reason = "a test: what cannot go on should say so and stop")]

use std::fs;
use std::path::Path;
use std::process::Command;

use differ::Options;

fn compile(extra: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("unit.o");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exception.cc");
    let status = Command::new("g++")
        .args(["-c", "-w", "-O2", "-g", "-ffunction-sections", "-fdata-sections"])
        .args(extra)
        .arg(source)
        .arg("-o")
        .arg(&out)
        .status();
    assert!(status.unwrap().success());
    fs::read(out).unwrap()
}

#[test]
fn one_damaged_byte() {
    let (orig, patched) = (compile(&[]), compile(&["-DPATCHED"]));
    // Debug sections are most of the file; headers, symbols and relocations are at its ends. A stride without
    // common factor with 8 meets every byte of a field in some entry.
    for at in (0..patched.len()).step_by(13) {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut damaged = patched.clone();
            damaged[at] = value;
            let _ = differ::diff(&orig, &damaged, &Options::default());
        }
    }
}

#[test]
fn cut_off() {
    let (orig, patched) = (compile(&[]), compile(&["-DPATCHED"]));
    for len in (0..patched.len()).step_by(97) {
        assert!(differ::diff(&orig, &patched[..len], &Options::default()).is_err());
    }
}

#[test]
fn not_an_object() {
    let orig = compile(&[]);
    for bytes in [&b""[..], b"\x7fELF", b"!<arch>\n", &[0; 64]] {
        assert!(differ::diff(&orig, bytes, &Options::default()).is_err());
    }
}

#[test]
fn an_object_of_an_unknown_machine_is_told_so() {
    // `e_machine` of an ELF header, and the number of AArch64.
    const E_MACHINE: std::ops::Range<usize> = 18..20;
    const AARCH64: u16 = 183;
    let mut object = compile(&[]);
    object[E_MACHINE].copy_from_slice(&AARCH64.to_le_bytes());
    let error = differ::diff(&object, &object, &Options::default()).unwrap_err();
    let told = "cannot compare: ELF machine 183 (this version knows x86-64) in the original object";
    assert_eq!(error.to_string(), told);
    assert!(differ::arch::relocation_type(AARCH64, 1).is_none());
}
