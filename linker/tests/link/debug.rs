//! Debug information of a patch: it has the addresses of the image, and no others.

use differ::{DebugSections, DebugUnit, Options, debug_sections};
use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, Operation};
use linker::{LibraryFiles, LinkInput, LinkOutput, OriginalUnit, ParsedElf, UnitPatch, addresses, link};
use patchfile::image::Access;
use patchfile::{Digest, control};

use super::build::{Built, Plan, Source, build};
use super::image;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

const UNITS: [Source; 2] = [
    Source {
        name: "main.c",
        text: r#"
#include <stdio.h>
extern int twice(int);
static int count = 5;
static int fresh(int n) { return n * 7; }
__attribute__((noipa)) int stays(int n) { return n + count; }
__attribute__((noipa)) int changes(int n)
{
    static int calls = 3;
    int result = stays(n) + calls++;
#ifdef PATCHED
    static int added = 9;
    if (n > 1000)
        puts("large");
    for (int i = 0; i < n; i++)
        result += fresh(i) + added++;
#endif
    return result + count++;
}
int main(void) { printf("%d\n", changes(2) + twice(1) + fresh(1)); }
"#,
    },
    Source {
        name: "other.c",
        text: r#"
static int count = 50;
__attribute__((noipa)) int twice(int n)
{
#ifdef PATCHED
    count++;
#else
    count--;
#endif
    return n * 2 + count;
}
"#,
    },
];

/// What a real comparison of the units gives, linked, and the debug information for it.
fn carried(built: &Built) -> (LinkOutput, DebugSections) {
    let diffs: Vec<_> = built
        .units
        .iter()
        .map(|[_, original, patched]| differ::diff(original, patched, &Options::default()).unwrap())
        .collect();
    let hashes: Vec<String> = built.units.iter().map(|[plain, ..]| Digest::of(plain).to_string()).collect();
    let units: Vec<UnitPatch<'_>> = (0..diffs.len())
        .map(|i| UnitPatch {
            prebuilt: false,
            name: UNITS[i].name,
            cplusplus: false,
            original: Some(OriginalUnit::Object { sha256: &hashes[i], object: &built.units[i][0] }),
            patch: diffs[i].patch.as_ref().unwrap(),
            extents: &diffs[i].extents,
        })
        .collect();
    let libc = std::path::PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6");
    let linked = ParsedElf::parse(&built.linked, "linked ELF").unwrap();
    let output = link(&LinkInput {
        name: built.module,
        units: &units,
        record: &built.record,
        map: Some(&built.map),
        linked: &linked,
        target: &linked,
        addresses: &*addresses(&linked, &linked, None).unwrap(),
        patched: None,
        libraries: &LibraryFiles::new(|path| std::fs::read(path).ok(), None, [(libc.clone(), libc)], []),
        moved: &linker::MovedDefinitions::default(),
    })
    .unwrap();
    let debug = sections(built, &output);
    (output, debug)
}

fn sections(built: &Built, output: &LinkOutput) -> DebugSections {
    let objects = built.units.iter().zip(&output.places);
    let units: Vec<DebugUnit<'_>> =
        objects.map(|([_, _, object], places)| DebugUnit { object, placements: places }).collect();
    let renamed = |path: &[u8]| Some([&b"/renamed/"[..], path.split(|b| *b == b'/').next_back()?].concat());
    debug_sections(&units, control::BIAS, &renamed)
}

fn dwarf(debug: &DebugSections) -> Dwarf<Slice<'_>> {
    let section = |id: gimli::SectionId| -> Result<_, gimli::Error> {
        let found = debug.sections.iter().find(|s| s.0 == id.name());
        Ok(EndianSlice::new(found.map_or(&[][..], |s| &s.1), LittleEndian))
    };
    Dwarf::load(section).unwrap()
}

/// Is this all code of the image?
fn code(output: &LinkOutput, begin: u64, end: u64) -> bool {
    let within = |s: &&patchfile::image::Segment| (s.address..=s.address + s.size).contains(&begin);
    let segment = image(output).segments.iter().filter(|s| s.access == Access::Execute).find(within);
    segment.is_some_and(|s| begin < end && end <= s.address + s.size)
}

#[derive(Default)]
struct Seen {
    functions: Vec<String>,
    /// Names of variables with an address, and their units: in the image, or counted from where the target is
    /// loaded.
    in_image: Vec<(String, u64)>,
    in_target: Vec<(String, u64)>,
    lines: Vec<(u64, u64)>,
    files: Vec<String>,
}

fn look(output: &LinkOutput, debug: &DebugSections) -> Seen {
    let dwarf = dwarf(debug);
    let mut seen = Seen::default();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().unwrap() {
        let unit = dwarf.unit(header).unwrap();
        let unit = unit.unit_ref(&dwarf);
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs().unwrap() {
            let name = entry.attr_value(gimli::DW_AT_name);
            let name = name.map(|n| unit.attr_string(n).unwrap().to_string_lossy().into_owned());
            assert_ne!(name.as_deref(), Some("main"), "nothing in the patch refers to it");
            let mut ranges = unit.die_ranges(entry).unwrap();
            let mut here = false;
            while let Some(range) = ranges.next().unwrap() {
                assert!(code(output, range.begin, range.end), "{range:x?} of {name:?} is not in the patch");
                here = true;
            }
            if here && entry.tag() == gimli::DW_TAG_subprogram {
                seen.functions.extend(name.clone());
            }
            let location = entry.attr_value(gimli::DW_AT_location);
            // A block before DWARF 4.
            let expression = match location {
                Some(AttributeValue::Exprloc(expression)) => Some(expression),
                Some(AttributeValue::Block(bytes)) => Some(gimli::Expression(bytes)),
                _ => None,
            };
            if let Some(expression) = expression {
                let mut operations = expression.operations(unit.encoding());
                let mut all = Vec::new();
                while let Some(operation) = operations.next().unwrap() {
                    all.push(operation);
                }
                match (all.as_slice(), name) {
                    ([Operation::Address { address }], Some(name)) => seen.in_image.push((name, *address)),
                    (
                        [
                            Operation::Address { address: control::BIAS },
                            Operation::Deref { size: 8, .. },
                            Operation::UnsignedConstant { value },
                            Operation::Plus,
                        ],
                        Some(name),
                    ) => seen.in_target.push((name, *value)),
                    (other, name) => {
                        let address = |o: &Operation<_>| matches!(o, Operation::Address { .. });
                        assert!(!other.iter().any(address), "{name:?} is at {other:?}");
                    }
                }
            }
        }
        let program = unit.line_program.clone().unwrap();
        for file in program.header().file_names() {
            let file = unit.attr_string(file.path_name()).unwrap();
            seen.files.push(file.to_string_lossy().into_owned());
        }
        let mut rows = program.rows();
        while let Some((_, row)) = rows.next_row().unwrap() {
            if !row.end_sequence() {
                assert!(code(output, row.address(), row.address() + 1), "{:x}", row.address());
                seen.lines.extend(row.line().map(|line| (row.address(), line.get())));
            }
        }
    }
    seen
}

fn check(compile: &'static [&'static str]) {
    let built = build(Plan { compile, ..Plan::default() }, &UNITS);
    let (output, debug) = carried(&built);
    assert_eq!(debug.left_out, []);
    let seen = look(&output, &debug);
    let mut functions = seen.functions;
    functions.sort();
    functions.dedup();
    functions.retain(|f| f != "fresh");
    assert_eq!(functions, ["changes", "twice"], "{compile:?}");
    let symbol = |name: &str| image(&output).symbols.iter().find(|s| s.name == name).unwrap().address;
    for (name, line) in [("changes", 8), ("twice", 4)] {
        assert!(seen.lines.contains(&(symbol(name), line)), "{compile:?}: {name}: {:x?}", seen.lines);
    }
    let added = image(&output).symbols.iter().find(|s| s.name.starts_with("added")).unwrap().address;
    assert_eq!(seen.in_image, [("added".to_owned(), added)], "{compile:?}");
    // Two variables of one name are two places of the program, and it is its symbol table that says which.
    let path = built.dir.path().join("linked");
    std::fs::write(&path, &built.linked).unwrap();
    let table = super::build::run(std::process::Command::new("nm").arg(&path));
    let mut wanted: Vec<(String, u64)> = table
        .lines()
        .filter_map(|l| {
            let (address, rest) = l.split_once(' ')?;
            let name = rest.get(2..)?.split('.').next()?;
            let address = u64::from_str_radix(address, 16).ok()?;
            ["count", "calls"].contains(&name).then(|| (name.to_owned(), address))
        })
        .collect();
    let mut found = seen.in_target;
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "{compile:?}");
    assert_eq!(found.len(), 3);
    assert!(seen.files.iter().any(|f| f == "/renamed/main.c"), "{:?}", seen.files);
}

#[test]
fn only_what_is_in_the_patch_has_an_address_there() {
    check(&["-O0", "-gdwarf-5"]);
    check(&["-O2", "-gdwarf-5"]);
    check(&["-O1", "-gdwarf-4"]);
    check(&["-O2", "-gdwarf-3"]);
    check(&["-O0", "-gdwarf-2", "-gstrict-dwarf"]);
    check(&["-O2", "-gdwarf-4", "-gz"]);
    check(&["-O2", "-gdwarf-5", "-gz=zlib-gnu", "-gno-as-loc-support"]);
    check(&["-O2", "-g3", "-gno-column-info"]);
}

#[test]
fn what_cannot_be_carried_is_left_out_and_the_rest_stays() {
    let mut built = build(Plan::default(), &UNITS);
    let (output, whole) = carried(&built);
    let info =
        |debug: &DebugSections| debug.sections.iter().find(|s| s.0 == ".debug_info").map_or(0, |s| s.1.len());
    // Cut off: `.debug_info` of the first unit says a version that nobody knows.
    let object = &mut built.units[0][2];
    let at = object.windows(7).position(|w| w[2..] == [0, 0, 5, 0, 1]).unwrap();
    object[at + 4] = 77;
    let damaged = sections(&built, &output);
    let names: Vec<usize> = damaged.left_out.iter().map(|(i, _)| *i).collect();
    assert_eq!(names, [0], "{:?}", damaged.left_out);
    assert!(info(&damaged) > 0 && info(&damaged) < info(&whole));
    // Not an object at all, and one without debug information.
    built.units[0][2] = b"no object".to_vec();
    assert_eq!(sections(&built, &output).left_out.len(), 1);
    let stripped = build(Plan { compile: &["-g0"], ..Plan::default() }, &UNITS);
    let (_, nothing) = carried(&stripped);
    assert!(nothing.sections.is_empty() && nothing.left_out.is_empty());
}
