//! A little kernel: a few units, compiled and linked as a kernel is, with the symbol table of a kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSection as _};

/// As a kernel is compiled, as far as it matters here.
const FLAGS: [&str; 15] = [
    "-c",
    "-O2",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-fno-jump-tables",
    "-fno-common",
    "-pg",
    "-mfentry",
    "-mrecord-mcount",
];

/// With room for the symbol table, which is made of the linked file.
const SCRIPT: &str = "SECTIONS {
    . = 0xffffffff81000000;
    .text : { *(.text .text.*) }
    . = ALIGN(4096);
    .rodata : { *(.rodata .rodata.*) . = ALIGN(8); symbol_table = .; . = . + 65536; }
    .data : { *(.data .data.*) }
    .init.data : { __init_begin = .; *(.init.data) __start_mcount_loc = .; *(__mcount_loc) __stop_mcount_loc \
    = .; __init_end = .; }
    .ibt_endbr_seal : { *(.ibt_endbr_seal) }
    .bss : { *(.bss .bss.*) }
    /DISCARD/ : { *(.comment) *(.note*) *(.eh_frame) }
}";

/// Where the symbol table keeps its addresses (see `livepatch/kallsyms.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    UpTo63,
    From64,
}

/// A folder with sources, their objects, and the kernel that is linked of them.
pub(crate) struct Little {
    dir: tempfile::TempDir,
    pub(crate) vmlinux: Vec<u8>,
}

impl Little {
    pub(crate) fn new(units: &[(&str, &str)]) -> Self {
        Self::with_layout(units, Layout::UpTo63)
    }

    pub(crate) fn with_layout(units: &[(&str, &str)], layout: Layout) -> Self {
        let little = Self { dir: tempfile::tempdir().unwrap(), vmlinux: Vec::new() };
        let objects: Vec<PathBuf> =
            units.iter().map(|(name, text)| little.object(name, text, false)).collect();
        let (script, linked) = (little.path("vmlinux.lds"), little.path("vmlinux"));
        fs::write(&script, SCRIPT).unwrap();
        run(Command::new("ld")
            .args(["-e", "0", "--no-warn-rwx-segments", "-T"])
            .arg(&script)
            .arg("-o")
            .arg(&linked)
            .args(&objects));
        let mut vmlinux = fs::read(&linked).unwrap();
        let symbols = names(&linked);
        let table = table(&symbols, layout);
        let rodata = object::File::parse(&*vmlinux).unwrap();
        let rodata = rodata.section_by_name(".rodata").unwrap();
        let address = symbols.iter().find(|s| s.2 == "symbol_table").unwrap().0;
        let at = (rodata.file_range().unwrap().0 + address - rodata.address()) as usize;
        assert!(table.len() <= 65536);
        vmlinux[at..at + table.len()].copy_from_slice(&table);
        Self { vmlinux, ..little }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn object(&self, name: &str, text: &str, sections: bool) -> PathBuf {
        let (source, object) = (self.path(&format!("{name}.c")), self.path(&format!("{name}.o")));
        fs::write(&source, text).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(FLAGS).current_dir(self.dir.path()).arg("-o").arg(&object).arg(format!("{name}.c"));
        if sections {
            gcc.args(["-ffunction-sections", "-fdata-sections"]);
        }
        run(&mut gcc);
        object
    }

    /// A unit with a section for each function and datum.
    pub(crate) fn sectioned(&self, name: &str, text: &str) -> Vec<u8> {
        fs::read(self.object(name, text, true)).unwrap()
    }

    /// A module of a unit, as it is shipped.
    pub(crate) fn module(&self, name: &str, text: &str) -> Vec<u8> {
        let (object, module) = (self.object(name, text, false), self.path(&format!("{name}.ko")));
        run(Command::new("ld").args(["-r", "-o"]).arg(&module).arg(&object));
        fs::read(module).unwrap()
    }

    /// What Kbuild does with the parts: links them with `hook`, in assembly.
    pub(crate) fn link(&self, parts: &linker::Parts, hook: &str) -> Vec<u8> {
        let (source, object, module) = (self.path("hook.s"), self.path("hook.o"), self.path("patch.ko"));
        fs::write(&source, hook).unwrap();
        run(Command::new("as").arg("-o").arg(&object).arg(&source));
        let mut ld = Command::new("ld");
        ld.args(["-r", "-o"]).arg(&module).arg(&object);
        for (number, part) in parts.objects.iter().enumerate() {
            let path = self.path(&format!("part{number}.o"));
            fs::write(&path, &part.bytes).unwrap();
            ld.arg(path);
        }
        run(&mut ld);
        fs::read(module).unwrap()
    }

    /// Symbols as `nm` lists them: address, kind, name.
    pub(crate) fn names(&self) -> Vec<(u64, u8, String)> {
        names(&self.path("vmlinux"))
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn names(file: &Path) -> Vec<(u64, u8, String)> {
    let output = Command::new("nm").arg("-n").arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let mut words = line.split(' ');
        let address = u64::from_str_radix(words.next().unwrap(), 16).unwrap();
        (address, words.next().unwrap().as_bytes()[0], words.next().unwrap().to_owned())
    };
    text.lines().map(line).collect()
}

/// The bytes of a symbol table of the kernel.
pub(crate) fn table(symbols: &[(u64, u8, String)], layout: Layout) -> Vec<u8> {
    // A token for each character, and one for a sequence.
    let mut tokens: Vec<String> = (0..=255_u8)
        .map(|c| if c.is_ascii_graphic() { char::from(c).into() } else { String::new() })
        .collect();
    "step".clone_into(&mut tokens[1]);
    let (mut names, mut markers) = (Vec::new(), Vec::new());
    for (number, (_, kind, name)) in symbols.iter().enumerate() {
        if number % 256 == 0 {
            markers.push(names.len() as u32);
        }
        let text = format!("{}{name}", char::from(*kind)).replace("step", "\u{1}");
        match text.len() {
            length @ ..128 => names.push(length as u8),
            length => names.extend([length as u8 & 0x7f | 0x80, (length >> 7) as u8]),
        }
        names.extend(text.bytes());
    }
    let base = 0xffff_ffff_8100_0000_u64;
    let mut offsets = Vec::new();
    for (address, _, _) in symbols {
        // With absolute per-CPU symbols.
        let offset = if *address < 1 << 32 { *address as i32 } else { -1 - (address - base) as i32 };
        offsets.extend(offset.to_le_bytes());
    }
    let mut index = Vec::new();
    let mut words = Vec::new();
    for token in &tokens {
        index.extend((words.len() as u16).to_le_bytes());
        words.extend(token.bytes());
        words.push(0);
    }
    let number = (symbols.len() as u32).to_le_bytes().to_vec();
    let markers: Vec<u8> = markers.iter().flat_map(|m| m.to_le_bytes()).collect();
    let base = base.to_le_bytes().to_vec();
    let pieces = match layout {
        Layout::UpTo63 => vec![offsets, base, number, names, markers, words, index],
        Layout::From64 => vec![number, names, markers, words, index, offsets, base],
    };
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(piece);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}
