use super::*;
use crate::{Arch, BuildId, Digest, control};

fn sample() -> Image {
    Image {
        arch: Arch::X86_64,
        target: Target {
            name: "redis-server".into(),
            build_id: BuildId::new([7; 20]),
            code: Digest::of(b"code"),
            fixed: false,
        },
        segments: vec![
            Segment { access: Access::Read, address: 0, size: control::size(2), data: vec![] },
            Segment { access: Access::Execute, address: 0x1000, size: 0x100, data: vec![0xcc; 0x100] },
            Segment { access: Access::Read, address: 0x2000, size: 0x40, data: vec![0; 0x40] },
            Segment { access: Access::Write, address: 0x3000, size: 0x2000, data: vec![1, 2, 3] },
        ],
        redirects: vec![
            Redirect {
                name: "hllAdd".into(),
                old: 0x4000,
                old_size: 100,
                skip: 4,
                original: *b"UH\x89\xe5AWAV",
                new: 0x1000,
                stub: 0x1080,
                resume: Some(0x10a0),
                fragments: vec![(0x1234, 16)],
                hop: None,
            },
            Redirect {
                name: "hllCount".into(),
                old: 0x5000,
                old_size: 200,
                skip: 0,
                original: [0x90; 8],
                new: 0x1040,
                stub: 0x1090,
                resume: Some(0x10b0),
                fragments: vec![],
                hop: None,
            },
        ],
        references: vec![
            Reference::Image,
            Reference::Target,
            Reference::TargetWord { address: 0x9000 },
            Reference::Import {
                name: "strlen".into(),
                version: Some("GLIBC_2.2.5".into()),
                weak: true,
                kind: ImportKind::Function,
            },
            Reference::Import { name: "stdout".into(), version: None, weak: false, kind: ImportKind::Object },
        ],
        relocations: vec![
            Relocation { address: 0x1004, kind: RelocationKind::Pc32, reference: 1, addend: -4 },
            Relocation { address: 0x2000, kind: RelocationKind::Abs64, reference: 3, addend: 0 },
        ],
        symbols: vec![
            Symbol { name: "hllAdd".into(), address: 0x1000, size: 0x40, function: true },
            Symbol { name: "table".into(), address: 0x4000, size: 8, function: false },
        ],
        unwind: Some(Unwind { eh_frame: 0x2010, eh_frame_size: 0x20, register: true }),
        hooks: vec![Hook { when: HookPoint::PreUnapply, address: 0x1010 }],
        exports: vec![],
        companions: vec![],
    }
}

/// One ELF file of a patch whose ELF files refer to each other.
fn sibling() -> Image {
    let mut image = sample();
    image.references.push(Reference::Sibling {
        name: "hllNew".into(),
        version: Some("HLL_2".into()),
        kind: ImportKind::Function,
    });
    image.exports = vec![
        Export { name: "hllOther".into(), version: None, at: Exported::Image(0x1020) },
        Export { name: "hllOther".into(), version: Some("HLL_2".into()), at: Exported::Target(0x4000) },
    ];
    image
}

#[test]
fn image_reads_back_and_is_deterministic() {
    for image in [sample(), sibling()] {
        let bytes = image.write().unwrap();
        assert_eq!(Image::parse(&bytes).unwrap(), image);
        assert_eq!(bytes, Image::parse(&bytes).unwrap().write().unwrap());
    }
}

/// Name, type, flags, address, size and content of a section.
type Section = (String, u32, u64, u64, u64, Vec<u8>);

fn sections(bytes: &[u8]) -> Vec<Section> {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let short = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
    let start = |index: usize| usize::try_from(word(40)).unwrap() + 64 * index;
    let content = |at: usize| {
        let (offset, size) =
            (usize::try_from(word(at + 24)).unwrap(), usize::try_from(word(at + 32)).unwrap());
        if half(at + 4) == 8 { Vec::new() } else { bytes[offset..offset + size].to_vec() }
    };
    let names = content(start(short(62)));
    let section = |index: usize| {
        let at = start(index);
        let name = names[half(at) as usize..].split(|b| *b == 0).next().unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        (name, half(at + 4), word(at + 8), word(at + 16), word(at + 32), content(at))
    };
    (1..short(60)).map(section).collect()
}

#[test]
fn the_debug_file_has_the_same_sections_and_symbols_and_is_named() {
    let image = sample();
    let link = DebugLink { file: "redis-server.upatch.debug".into(), crc: 0x1234_5678 };
    let linked = image.write_with(Some(&link)).unwrap();
    assert_eq!(Image::parse(&linked).unwrap(), image, "the name changes nothing of the image");
    let patch = sections(&linked);
    let found = patch.iter().find(|s| s.0 == ".gnu_debuglink").unwrap();
    assert_eq!(found.5, b"redis-server.upatch.debug\0\0\0\x78\x56\x34\x12");
    let debug = sections(&image.write_debug(&[(".debug_info", vec![1, 2, 3])]));
    let loaded = |all: &[Section]| {
        let loaded = all.iter().filter(|s| s.2 & 2 != 0);
        loaded.map(|s| (s.0.clone(), s.2, s.3, s.4)).collect::<Vec<_>>()
    };
    assert_eq!(loaded(&debug), loaded(&patch));
    assert!(debug.iter().filter(|s| s.2 & 2 != 0).all(|s| s.1 == 8), "without content");
    for name in [".symtab", ".strtab"] {
        let content = |all: &[Section]| all.iter().find(|s| s.0 == name).unwrap().5.clone();
        assert_eq!(content(&debug), content(&patch), "{name}");
    }
    assert_eq!(debug.iter().find(|s| s.0 == ".debug_info").unwrap().5, [1, 2, 3]);
}

#[test]
fn a_newer_format_is_written_only_where_it_is_needed() {
    assert_eq!((sample().format(), sibling().format()), (1, 2));
    let mut importing = sibling();
    importing.exports.clear();
    assert_eq!(importing.format(), 2);
    // A file that says 1 and holds what only 2 knows.
    for image in [sibling(), importing] {
        let mut bytes = image.write().unwrap();
        let at = version_at(&bytes);
        bytes[at] = 1;
        assert!(matches!(Image::parse(&bytes), Err(ImageError::Elf(_))));
    }
}

#[test]
fn padding_is_in_reach_and_nobody_elses() {
    let hop = |address| Some(Hop { address, original: [0x90; 8] });
    let with = |address| {
        let mut image = sample();
        image.redirects[1].hop = hop(address);
        image
    };
    let image = with(0x4ff0);
    assert_eq!(image.format(), 4);
    assert_eq!(Image::parse(&image.write().unwrap()).unwrap(), image);
    for address in [0x4f81, 0x5082, 0x5001, 0x4ffc] {
        assert!(with(address).validate().is_err(), "{address:#x}");
    }
    with(0x4f82).validate().unwrap();
    with(0x5081).validate().unwrap();
}

#[test]
fn what_one_image_wants_another_has() {
    let (user, mut library) = (sibling(), sample());
    assert!(validate_together(&[user.clone(), library.clone()]).is_err());
    library.exports = vec![Export { name: "hllNew".into(), version: None, at: Exported::Image(0x1020) }];
    assert!(validate_together(&[user.clone(), library.clone()]).is_err(), "another version");
    library.exports[0].version = Some("HLL_2".into());
    assert_eq!(validate_together(&[user, library]), Ok(()));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sibling().write().unwrap();
    for end in 0..bytes.len() {
        assert!(Image::parse(&bytes[..end]).is_err(), "first {end} bytes");
    }
}

#[test]
fn no_flipped_byte_panics() {
    let bytes = sibling().write().unwrap();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut copy = bytes.clone();
            copy[at] = value;
            let _ = Image::parse(&copy);
        }
    }
}

#[test]
fn rules_are_enforced() {
    type Edit = fn(&mut Image);
    let edits: &[(&str, Edit)] = &[
        ("relocation outside", |i| i.relocations[0].address = 0x1000_0000),
        ("relocation in the control block", |i| i.relocations[0].address = 0x20),
        ("relocation to nothing", |i| i.relocations[0].reference = 9),
        ("new code in data", |i| i.redirects[0].new = 0x3000),
        ("two redirects at one place", |i| i.redirects[1].old = 0x4006),
        ("no resume code", |i| i.redirects[1].resume = None),
        ("overlapping segments", |i| i.segments[1].size = 0x1001),
        ("control too small", |i| i.segments[0].size = 8),
        ("unwind in data", |i| {
            i.unwind = Some(Unwind { eh_frame: 0x3000, eh_frame_size: 4, register: false })
        }),
        ("hook in data", |i| i.hooks[0].address = 0x3000),
        ("export in the control block", |i| i.exports[0].at = Exported::Image(0x20)),
        ("export outside", |i| i.exports[0].at = Exported::Image(0x1000_0000)),
        ("export outside of the address space", |i| i.exports[1].at = Exported::Target(1 << 50)),
        ("export twice", |i| i.exports[1].version = None),
        ("companion with a path", |i| i.companions = vec!["/tmp/libm.so.6".into()]),
        ("companion without a name", |i| i.companions = vec![String::new()]),
        ("companion twice", |i| i.companions = vec!["libm.so.6".into(), "libm.so.6".into()]),
        ("huge", |i| i.segments[3].size = 1 << 40),
    ];
    for (what, edit) in edits {
        let mut image = sibling();
        edit(&mut image);
        assert!(image.write().is_err(), "{what}");
    }
}

#[test]
fn other_format_version_is_told() {
    let mut bytes = sample().write().unwrap();
    let at = version_at(&bytes);
    bytes[at] = 9;
    assert_eq!(Image::parse(&bytes), Err(ImageError::Format { found: 9, newest: 5 }));
}

#[test]
fn companions_are_kept_and_need_a_new_reader() {
    let image = Image { companions: vec!["libm.so.6".into(), "libstdc++.so.6".into()], ..sample() };
    let bytes = image.write().unwrap();
    assert_eq!(Image::parse(&bytes).as_ref(), Ok(&image));
    assert_eq!(image.format(), 5);
    let mut older = bytes;
    let at = version_at(&older);
    older[at] = 4;
    assert!(matches!(Image::parse(&older), Err(ImageError::Elf(_))));
}

/// Where the format version is.
fn version_at(bytes: &[u8]) -> usize {
    let mut windows = bytes.windows(4 + 1 + 32);
    windows.position(|w| w[1..5] == [0, 0, 0, 0] && w[5..] == *Digest::of(b"code").as_bytes()).unwrap()
}

#[test]
fn numbers_in_files_lead_back() {
    for (number, kind) in RelocationKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, number);
    }
    for (number, point) in POINTS.into_iter().enumerate() {
        assert_eq!(point as usize, number);
    }
}
