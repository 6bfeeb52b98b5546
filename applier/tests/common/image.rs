//! Patch images made by hand: a few machine instructions for each function.

use applier::{LoadedElf, LoadedPatch};
use patchfile::{
    Arch, BuildId, Digest, Uuid,
    control::{self, ACTIVE, PREVIOUS},
    image::{
        Access, Hop, Image, ImportKind, Redirect, Reference, Relocation, RelocationKind, Segment, Target,
        Unwind,
    },
};
use std::{path::Path, process::Command};

/// What is known about a compiled target.
pub struct Elf {
    bytes: Vec<u8>,
    symbols: Vec<(String, u64, u64)>,
    build_id: Option<BuildId>,
    fixed: bool,
}

fn output(program: &str, args: &[&str], file: &Path) -> String {
    let out = Command::new(program).args(args).arg(file).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

impl Elf {
    pub fn read(path: &Path) -> Self {
        let symbols = output("nm", &["-S"], path)
            .lines()
            .filter_map(|l| {
                let f: Vec<_> = l.split_whitespace().collect();
                let number = |t: &str| u64::from_str_radix(t, 16).unwrap();
                (f.len() == 4).then(|| (f[3].to_owned(), number(f[0]), number(f[1])))
            })
            .collect();
        let notes = output("readelf", &["-n"], path);
        let build_id = notes.lines().find_map(|l| l.trim().strip_prefix("Build ID: ")?.parse().ok());
        let fixed = output("readelf", &["-h"], path).contains("EXEC (");
        Self { bytes: std::fs::read(path).unwrap(), symbols, build_id, fixed }
    }

    pub fn symbol(&self, name: &str) -> (u64, u64) {
        let found = self.symbols.iter().find(|s| s.0 == name);
        found.map(|s| (s.1, s.2)).unwrap_or_else(|| panic!("no symbol {name}"))
    }

    /// File bytes at a link-time address.
    fn at(&self, address: u64, len: usize) -> Vec<u8> {
        let word = |at: usize| u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap());
        let table = usize::try_from(word(32)).unwrap();
        let count = usize::from(self.bytes[56]);
        for i in 0..count {
            let p = table + 56 * i;
            let (offset, start, size) = (word(p + 8), word(p + 16), word(p + 32));
            if self.bytes[p] == 1 && address >= start && address < start + size {
                let from = usize::try_from(offset + address - start).unwrap();
                return self.bytes[from..from + len].to_vec();
            }
        }
        panic!("no contents at {address:#x}");
    }
}

/// A replacement for one function.
pub struct New {
    pub name: &'static str,
    /// Machine code.
    pub code: Vec<u8>,
    /// Offset in the code of 4-byte fields that are relative to the next instruction, and what they refer to.
    pub fields: Vec<(usize, Field)>,
    /// Bytes of the old function's first whole instructions, at least 5.
    pub covered: usize,
    /// Begins with the 4 bytes of `sub $8,%rsp`.
    pub frame: bool,
}

pub enum Field {
    /// A word of the image's GOT holding an imported symbol's address.
    Import(&'static str),
    /// A word of the image's GOT holding the address of what the patch adds to another ELF file.
    Sibling(&'static str),
    /// A variable of the target.
    Target(&'static str),
    /// A counter in the image's own data.
    Data,
}

/// `mov $value,%eax; ret`
pub fn returns(name: &'static str, value: u32) -> New {
    let mut code = vec![0xb8];
    code.extend_from_slice(&value.to_le_bytes());
    code.push(0xc3);
    New { name, code, fields: Vec::new(), covered: 5, frame: false }
}

/// A replacement for a function whose first instructions are looked up in the disassembly.
pub fn with_prologue(name: &'static str, value: u32, program: &Path) -> New {
    let out = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(program).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let body = text.split(&format!("<{name}>:\n")).nth(1).unwrap();
    let addresses: Vec<u64> =
        body.lines().map_while(|l| u64::from_str_radix(l.trim_start().split(':').next()?, 16).ok()).collect();
    let covered = addresses.iter().map(|a| a - addresses[0]).find(|d| *d >= 5).unwrap();
    New { covered: usize::try_from(covered).unwrap(), ..returns(name, value) }
}

/// `sub $8,%rsp; call callee; add $8,%rsp; ret`
pub fn calls(name: &'static str, callee: &'static str) -> New {
    let code = vec![0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3];
    New { name, code, fields: vec![(5, Field::Target(callee))], covered: 5, frame: true }
}

/// The length of `text`, as `strlen` finds it: a symbol whose address only a function of the target can tell.
pub fn length_of(name: &'static str, text: &str) -> New {
    // lea text(%rip),%rdi; jmp *strlen(%rip)
    let mut code = vec![0x48, 0x8d, 0x3d, 6, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0];
    code.extend_from_slice(text.as_bytes());
    code.push(0);
    New { name, code, fields: vec![(9, Field::Import("strlen"))], covered: 5, frame: false }
}

const CODE: u64 = 0x2000;
const CONST: u64 = 0x4000;
const DATA: u64 = 0x6000;

pub fn patch(elf: &Elf, seed: &str, new: Vec<New>) -> LoadedPatch {
    let image = image(elf, new, false);
    image.validate().unwrap();
    let image = Image::parse(&image.write().unwrap()).unwrap();
    let uuid = Uuid::from_digest(&Digest::of(seed.as_bytes()));
    LoadedPatch { uuid, name: seed.into(), elfs: vec![LoadedElf { index: 0, image }] }
}

/// For [`super::PAIR`] and programs like it, which then answer 11 and 22.
pub fn pair_patch(program: &Path, seed: &str) -> LoadedPatch {
    patch(&Elf::read(program), seed, vec![returns("one", 11), returns("two", 22)])
}

/// For the compiler: ten bytes of padding before each function.
pub const PADDED: &[&str] = &["-fpatchable-function-entry=10,10"];

/// The patch with short jumps at its entries, which lead to padding that begins so far before them.
pub fn by_padding(mut patch: LoadedPatch, elf: &Elf, before: u64) -> LoadedPatch {
    let LoadedElf { image, .. } = &mut patch.elfs[0];
    for redirect in &mut image.redirects {
        let address = redirect.old - before;
        redirect.hop = Some(Hop { address, original: elf.at(address, 8).try_into().unwrap() });
    }
    image.validate().unwrap();
    *image = Image::parse(&image.write().unwrap()).unwrap();
    patch
}

pub fn image(elf: &Elf, new: Vec<New>, register: bool) -> Image {
    let mut code = Vec::new();
    let mut got = Vec::new();
    let mut redirects = Vec::new();
    let mut references = vec![Reference::Target];
    let mut relocations = Vec::new();
    let here = |code: &Vec<u8>| CODE + code.len() as u64;
    let rel =
        |to: u64, next: u64| i32::try_from(to.cast_signed() - next.cast_signed()).unwrap().to_le_bytes();
    let mut unwind: Vec<(u64, u64, bool)> = Vec::new();
    for (i, n) in new.into_iter().enumerate() {
        let (old, old_size) = elf.symbol(n.name);
        let old_bytes = elf.at(old, n.covered.max(8));
        let start = here(&code);
        code.extend_from_slice(&n.code);
        unwind.push((start, n.code.len() as u64, n.frame));
        for (offset, field) in n.fields {
            let address = start + offset as u64;
            let position = usize::try_from(address - CODE).unwrap();
            match field {
                Field::Target(name) => relocations.push(Relocation {
                    address,
                    kind: RelocationKind::Pc32,
                    reference: 0,
                    addend: elf.symbol(name).0.cast_signed() - 4,
                }),
                Field::Data => code[position..position + 4].copy_from_slice(&rel(DATA, address + 4)),
                Field::Import(name) | Field::Sibling(name) => {
                    let slot = CONST + got.len() as u64;
                    got.extend_from_slice(&[0; 8]);
                    code[position..position + 4].copy_from_slice(&rel(slot, address + 4));
                    let (name, version, kind) = (name.into(), None, ImportKind::Function);
                    references.push(match field {
                        Field::Sibling(_) => Reference::Sibling { name, version, kind },
                        _ => Reference::Import { name, version, weak: false, kind },
                    });
                    let reference = u32::try_from(references.len() - 1).unwrap();
                    relocations.push(Relocation {
                        address: slot,
                        kind: RelocationKind::Abs64,
                        reference,
                        addend: 0,
                    });
                }
            }
        }
        code.resize(code.len().next_multiple_of(16), 0xcc);
        let stub = here(&code);
        code.extend_from_slice(&[0x80, 0x3d]);
        code.extend_from_slice(&rel(ACTIVE, stub + 7));
        code.extend_from_slice(&[0, 0x0f, 0x85]);
        code.extend_from_slice(&rel(start, stub + 13));
        code.extend_from_slice(&[0xff, 0x25]);
        code.extend_from_slice(&rel(control::entry(i) + PREVIOUS, stub + 19));
        let resume = here(&code);
        code.extend_from_slice(&old_bytes[..n.covered]);
        code.push(0xe9);
        relocations.push(Relocation {
            address: here(&code),
            kind: RelocationKind::Pc32,
            reference: 0,
            addend: old.cast_signed() + i64::try_from(n.covered).unwrap() - 4,
        });
        code.extend_from_slice(&[0; 4]);
        code.resize(code.len().next_multiple_of(16), 0xcc);
        redirects.push(Redirect {
            name: n.name.into(),
            old,
            old_size,
            skip: 0,
            original: old_bytes[..8].try_into().unwrap(),
            new: start,
            stub,
            resume: Some(resume),
            fragments: Vec::new(),
            hop: None,
        });
    }
    got.resize(0x800, 0);
    let eh_frame = CONST + 0x800;
    let tables = eh_frame_of(eh_frame, &unwind);
    let eh_frame_size = tables.len() as u64;
    got.extend_from_slice(&tables);
    let segment = |access, address, data: Vec<u8>, size| Segment { access, address, size, data };
    Image {
        arch: Arch::X86_64,
        target: Target {
            name: "target".into(),
            build_id: elf.build_id.clone(),
            code: Digest::of(b"unused"),
            fixed: elf.fixed,
        },
        segments: vec![
            segment(Access::Read, 0, Vec::new(), 0x2000),
            segment(Access::Execute, CODE, code, 0x2000),
            segment(Access::Read, CONST, got, 0x2000),
            segment(Access::Write, DATA, Vec::new(), 0x1000),
        ],
        redirects,
        references,
        relocations,
        symbols: Vec::new(),
        unwind: Some(Unwind { eh_frame, eh_frame_size, register }),
        hooks: Vec::new(),
        exports: Vec::new(),
        companions: Vec::new(),
    }
}

/// `.eh_frame` of functions that move the stack pointer never, or by 8 at their beginning.
fn eh_frame_of(address: u64, functions: &[(u64, u64, bool)]) -> Vec<u8> {
    let mut out = Vec::new();
    let cie = [0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0];
    out.extend_from_slice(&u32::try_from(cie.len()).unwrap().to_le_bytes());
    out.extend_from_slice(&cie);
    for (start, size, frame) in functions {
        out.extend_from_slice(&16u32.to_le_bytes());
        let back = u32::try_from(out.len()).unwrap();
        out.extend_from_slice(&back.to_le_bytes());
        let place = address + out.len() as u64;
        let begin = i32::try_from(start.cast_signed() - place.cast_signed()).unwrap();
        out.extend_from_slice(&begin.to_le_bytes());
        out.extend_from_slice(&u32::try_from(*size).unwrap().to_le_bytes());
        // No augmentation; DW_CFA_advance_loc 4, DW_CFA_def_cfa_offset 16.
        out.extend_from_slice(if *frame { &[0, 0x44, 0x0e, 16] } else { &[0; 4] });
    }
    out.extend_from_slice(&[0; 4]);
    out
}
