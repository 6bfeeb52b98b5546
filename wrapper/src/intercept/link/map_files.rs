//! The input files that a linker's map names. What a linker script names, by `INPUT` or `GROUP`, stands on no
//! command line, yet is linked like the rest.

/// Names of input files, as the linker spells them, each once. GNU ld lists all that it opened; of the others
/// the map has only those that put something into the output, an archive with the member behind it.
pub(crate) fn named(map: &[u8]) -> Vec<Vec<u8>> {
    let lines = || map.split(|byte| *byte == b'\n');
    let columns = lines().take(5).any(|line| line.trim_ascii_start().starts_with(b"VMA"));
    let mut names: Vec<Vec<u8>> =
        lines().filter_map(|line| line.strip_prefix(b"LOAD ").map(<[u8]>::to_vec)).collect();
    if names.is_empty() {
        let file = if columns { file_of_columns } else { file_of_section };
        names = lines().filter_map(file).map(|name| without_member(name).to_vec()).collect();
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// lld and mold: numbers, then after eight blanks more than one `FILE:(SECTION)`.
fn file_of_columns(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b")")?;
    let name = &line[..memchr::memmem::rfind(line, b":(")?];
    const INDENT: &[u8] = b"        ";
    Some(&name[memchr::memmem::rfind(name, INDENT)? + INDENT.len()..])
}

/// gold: a section's name (which may stand on a line before), address, size, file.
fn file_of_section(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line.strip_prefix(b" ")?;
    for _ in 0..2 {
        rest = &rest[memchr::memmem::find(rest, b" 0x")? + 1..];
    }
    let size = rest.iter().position(|byte| *byte == b' ')?;
    let name = rest[size..].trim_ascii_start();
    (!name.is_empty() && !name.starts_with(b"(")).then_some(name)
}

fn without_member(name: &[u8]) -> &[u8] {
    match name.strip_suffix(b")").and_then(|front| front.iter().rposition(|byte| *byte == b'(')) {
        Some(open) if open > 0 => &name[..open],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    fn texts(map: &str) -> Vec<String> {
        named(map.as_bytes()).into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect()
    }

    #[test]
    fn of_gnu_ld() {
        let map = "Linker script and memory map\n\nLOAD main.o\nSTART GROUP\nLOAD ./with blank.o\nLOAD \
         libx.a\nEND GROUP\n .text          0x1060       0x36 main.o\n";
        assert_eq!(texts(map), ["./with blank.o", "libx.a", "main.o"]);
    }

    #[test]
    fn of_gold() {
        let map = "Memory map\n\n** file header  0x0 0x40\n .text          0x0000000000001060       0x36 \
         a.o\n .text.a_very_long_name\n                0x0000000000001190       0x3a \
         libx.a(m.o)\n                0x0000000000001190                pub\n";
        assert_eq!(texts(map), ["a.o", "libx.a"]);
    }

    #[test]
    fn of_lld_and_mold() {
        let lld = "             VMA              LMA     Size Align Out     In      Symbol\n            \
         1700             1700      10d    16 .text\n            1720             1720       3a    \
         16         libx.a(m.o):(.text.startup)\n            1720             1720        a     \
         1                 pub\n";
        assert_eq!(texts(lld), ["libx.a"]);
        let mold = "               VMA       Size Align Out     In      Symbol\n            0x15b0         \
         14    16         a.o:(.text)\n";
        assert_eq!(texts(mold), ["a.o"]);
    }
}
