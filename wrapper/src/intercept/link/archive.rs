//! Static archives: the members and their contents. Format: ar(5), with GNU long names (`//`, `/123`), BSD
//! long names (`#1/LEN`), and thin archives, whose members are files beside the archive.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use crate::base::error::{Error, IoContext, Result};
use crate::base::hash;
use records::OsBytes;

pub(crate) const MAGIC: &[u8; 8] = b"!<arch>\n";
pub(crate) const THIN_MAGIC: &[u8; 8] = b"!<thin>\n";
const HEADER: usize = 60;

/// Name and SHA-256 of each member in order; the index and name tables are left out. `seen` gets hash and
/// content of each.
///
/// # Errors
/// When the archive cannot be read or is damaged, and what `seen` says.
pub fn members(
    path: &Path,
    mut seen: impl FnMut(&str, &[u8]) -> Result<()>,
) -> Result<Vec<(Vec<u8>, String)>> {
    let bytes = fs::read(path).at("read", path)?;
    let fail = |why| Error::Archive { path: path.to_path_buf(), why };
    let thin = bytes.starts_with(THIN_MAGIC);
    if !thin && !bytes.starts_with(MAGIC) {
        return Err(fail("no archive magic"));
    }
    let mut found = Vec::new();
    let mut long_names: &[u8] = &[];
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let header = bytes.get(at..at + HEADER).ok_or_else(|| fail("cut off in a member's header"))?;
        if &header[58..60] != b"`\n" {
            return Err(fail("a member's header does not end as it should"));
        }
        let size: usize = std::str::from_utf8(&header[48..58])
            .ok()
            .and_then(|text| text.trim_end().parse().ok())
            .ok_or_else(|| fail("a member's size is no number"))?;
        let raw = header[..16].trim_ascii_end();
        let start = at + HEADER;
        let special = matches!(raw, b"/" | b"//" | b"/SYM64/") || raw.starts_with(b"__.SYMDEF");
        let held = if thin && !special { 0 } else { size };
        let data = start.checked_add(held).and_then(|end| bytes.get(start..end));
        let mut data = data.ok_or_else(|| fail("cut off in a member"))?;
        at = start + held + held % 2;
        if raw == b"//" {
            long_names = data;
        }
        if special {
            continue;
        }
        let name = if let Some(length) = raw.strip_prefix(b"#1/") {
            let length = number(length).ok_or_else(|| fail("a long name's length is no number"))?;
            let (name, rest) = data.split_at_checked(length).ok_or_else(|| fail("a long name is cut off"))?;
            data = rest;
            name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
        } else if let Some(offset) = raw.strip_prefix(b"/") {
            let offset = number(offset).ok_or_else(|| fail("a long name's offset is no number"))?;
            let rest = long_names.get(offset..).ok_or_else(|| fail("a long name lies outside the table"))?;
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            rest[..end].strip_suffix(b"/").unwrap_or(&rest[..end]).to_vec()
        } else {
            raw.strip_suffix(b"/").unwrap_or(raw).to_vec()
        };
        let content = if thin {
            let folder = path.parent().unwrap_or(Path::new("."));
            let file = folder.join(OsBytes::from(name.as_slice()).as_path());
            Cow::Owned(fs::read(&file).at("read", &file)?)
        } else {
            Cow::Borrowed(data)
        };
        let sha256 = hash::sha256(&content);
        seen(&sha256, &content)?;
        found.push((name, sha256));
    }
    Ok(found)
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, data.len()).into_bytes();
        bytes.extend(data);
        if data.len() % 2 == 1 {
            bytes.push(b'\n');
        }
        bytes
    }

    #[test]
    fn gnu_and_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.a");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(member("/", b"index"));
        bytes.extend(member("//", b"a_very_long_name.o/\nanother_long_name.o/\n"));
        bytes.extend(member("a.o/", b"one"));
        bytes.extend(member("/20", b"two!"));
        bytes.extend(member("a.o/", b"three"));
        fs::write(&path, &bytes).unwrap();
        let expected: Vec<(Vec<u8>, String)> =
            [("a.o", "one"), ("another_long_name.o", "two!"), ("a.o", "three")]
                .map(|(name, data)| (name.as_bytes().to_vec(), hash::sha256(data.as_bytes())))
                .to_vec();
        assert_eq!(members(&path, |_, _| Ok(())).unwrap(), expected);
        for cut in MAGIC.len() + 1..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let _ = members(&path, |_, _| Ok(()));
        }
        fs::write(&path, b"ELF").unwrap();
        assert!(members(&path, |_, _| Ok(())).is_err());
    }
}
