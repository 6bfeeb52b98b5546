//! Code of a file in whose place there is memory without a file, which is how pages with redirected functions
//! end (`load::Text`). Whoever looks for modules takes such memory for what it stands for.

use super::maps::Mapping;

/// Gives mappings without a file that stand where code of one was mapped what that had: `maps` is in address
/// order.
pub(super) fn restore(maps: &mut [Mapping]) {
    for index in 0..maps.len() {
        if !may_stand_for_code(&maps[index]) {
            continue;
        }
        let (before, after) = (&maps[..index], &maps[index + 1..]);
        let original = beside(&maps[index], before.last(), after.first())
            .or_else(|| Some((0, after.first().filter(|a| lacks_code(a, before, after))?)));
        if let Some((offset, file)) = original {
            let (device, inode, name) = (file.device, file.inode, file.name.clone());
            let replaced = &mut maps[index];
            (replaced.offset, replaced.device, replaced.inode) = (offset, device, inode);
            (replaced.name, replaced.replaced) = (name, true);
        }
    }
}

/// Is it a mapping of a file of which no code is mapped? Then the code was in one page with the headers,
/// before everything else.
fn lacks_code(m: &Mapping, before: &[Mapping], after: &[Mapping]) -> bool {
    let is_code = |a: &Mapping| a.execute && a.same_file(m);
    m.inode != 0 && !before.iter().any(|b| b.same_file(m)) && !after.iter().any(is_code)
}

fn may_stand_for_code(m: &Mapping) -> bool {
    m.inode == 0 && m.name.is_empty() && m.execute && !m.write && !m.shared
}

/// Whose code it is, by what is beside it: the rest of the same segment, or the segment before. (Another
/// program's code that was made at run time may lie beside a file too. Whoever reads a module's headers sees
/// that it is not the module's.)
fn beside<'a>(
    m: &Mapping,
    before: Option<&'a Mapping>,
    after: Option<&'a Mapping>,
) -> Option<(u64, &'a Mapping)> {
    let before = before.filter(|b| b.end == m.start && b.inode != 0 && !b.write);
    let after = after.filter(|a| a.start == m.end && a.inode != 0);
    let size = m.end - m.start;
    let first = after.filter(|a| a.execute && a.offset == size).map(|a| (0, a));
    let next = before.map(|b| (b.offset + (b.end - b.start), b));
    let last = after.and_then(|a| Some((a.offset.checked_sub(size)?, a)));
    first.or(next).or(last)
}

#[cfg(test)]
mod tests {
    use super::super::maps::{Mapping, parse};

    fn at(maps: &[Mapping], start: u64) -> &Mapping {
        maps.iter().find(|m| m.start == start).unwrap()
    }

    #[test]
    fn a_page_within_the_code_and_the_whole_of_it() {
        let maps = parse(
            b"10000-11000 r--p 00000000 fe:00 7 /bin/a\n\
             11000-12000 r-xp 00001000 fe:00 7 /bin/a\n\
             12000-13000 r-xp 00000000 00:00 0 \n\
             13000-14000 r-xp 00003000 fe:00 7 /bin/a\n\
             20000-21000 r--p 00000000 fe:00 8 /bin/b\n\
             21000-22000 r-xp 00000000 00:00 0 \n\
             22000-23000 r--p 00002000 fe:00 8 /bin/b\n",
        );
        let found = |start| (at(&maps, start).offset, at(&maps, start).inode, at(&maps, start).replaced);
        assert_eq!(found(0x12000), (0x2000, 7, true));
        assert_eq!(found(0x21000), (0x1000, 8, true));
        assert_eq!(found(0x13000), (0x3000, 7, false));
    }

    #[test]
    fn the_page_with_the_headers_too() {
        let maps = parse(
            b"10000-11000 r--p 00005000 fe:00 6 /usr/share/data\n\
             11000-12000 r-xp 00000000 00:00 0 \n\
             12000-13000 r-xp 00001000 fe:00 7 /bin/a\n\
             30000-31000 r-xp 00000000 00:00 0 \n\
             31000-32000 rw-p 00001000 fe:00 8 /bin/b\n\
             50000-51000 r-xp 00000000 00:00 0 \n\
             53000-54000 r--p 00000000 fe:00 9 /bin/c\n\
             54000-55000 rw-p 00001000 fe:00 9 /bin/c\n",
        );
        assert_eq!((at(&maps, 0x11000).offset, at(&maps, 0x11000).inode), (0, 7));
        assert_eq!((at(&maps, 0x30000).offset, at(&maps, 0x30000).inode), (0, 8));
        assert_eq!((at(&maps, 0x50000).offset, at(&maps, 0x50000).inode), (0, 9));
    }

    #[test]
    fn memory_on_its_own_and_memory_that_is_written_stay_what_they_are() {
        let maps = parse(
            b"10000-11000 rw-p 00001000 fe:00 7 /bin/a\n\
             11000-12000 r-xp 00000000 00:00 0 \n\
             13000-14000 r--p 00000000 fe:00 9 /bin/c\n\
             14000-15000 r-xp 00001000 fe:00 9 /bin/c\n\
             20000-21000 r--p 00000000 fe:00 8 /bin/b\n\
             21000-22000 rwxp 00000000 00:00 0 \n",
        );
        assert!(maps.iter().all(|m| !m.replaced));
    }
}
