//! Kernel images and modules out of their compression.
//!
//! What a boot loader loads is a bzImage: a header, code that unpacks, and the packed ELF file. Where that
//! lies is in the header (Documentation/arch/x86/boot.rst of the kernel, `payload_offset`, `payload_length`).

use crate::error::{Context, KernelError, Result};
use crate::files::{self, BINARY_LIMIT};
use std::io::Read;
use std::path::Path;

/// Nothing that is packed becomes longer than this.
const UNPACKED_LIMIT: u64 = 1 << 31;
/// A block of a packed LZ4 kernel holds at most this much (lz4_Frame_format.md, "Legacy frame").
const LZ4_BLOCK: usize = 8 << 20;
/// The beginning of a legacy LZ4 stream.
const LZ4_LEGACY: &[u8] = &[0x02, 0x21, 0x4c, 0x18];
const XZ: &[u8] = b"\xfd7zXZ\0";
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const ELF: &[u8] = b"\x7fELF";

/// Reads an ELF file: as it is, packed as a whole (`.ko.xz`), or the one inside of a bzImage.
///
/// # Errors
/// When it cannot be read, or there is no ELF file.
pub(super) fn read_elf(path: &Path) -> Result<Vec<u8>> {
    let bad = |why| KernelError::File { what: path.display().to_string(), why };
    let data = files::read(path, BINARY_LIMIT).at(path)?;
    if data.starts_with(ELF) {
        return Ok(data);
    }
    let packed = if is_packed(&data) { Some(&data[..]) } else { payload(&data) };
    let Some(packed) = packed else {
        return Err(bad("is neither an ELF file nor a kernel image nor a packed module").into());
    };
    let elf = unpack(packed).at(path)?;
    if !elf.starts_with(ELF) {
        return Err(bad("holds no ELF file").into());
    }
    Ok(elf)
}

/// The ELF file of a kernel that is packed as a `vmlinuz`.
///
/// # Errors
/// In words, when there is none.
pub fn kernel_image(path: &Path) -> std::result::Result<Vec<u8>, String> {
    read_elf(path).map_err(|e| e.to_string())
}

fn is_packed(data: &[u8]) -> bool {
    [XZ, GZIP, ZSTD, LZ4_LEGACY].iter().any(|magic| data.starts_with(magic))
}

/// What a bzImage holds, if it is one.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup = match usize::from(*image.get(0x1f1)?) {
        0 => 4,
        sectors => sectors,
    };
    let start = (setup + 1) * 512 + word(0x248)?;
    image.get(start..start.checked_add(word(0x24c)?)?)
}

fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let other = |why: String| std::io::Error::other(why);
    match packed {
        d if d.starts_with(XZ) => {
            lzma_rust2::XzReader::new(d, false).take(UNPACKED_LIMIT).read_to_end(&mut out)?;
        }
        d if d.starts_with(GZIP) => {
            flate2::read::GzDecoder::new(d).take(UNPACKED_LIMIT).read_to_end(&mut out)?;
        }
        d if d.starts_with(ZSTD) => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new(d).map_err(|e| other(format!("zstd: {e}")))?;
            decoder.take(UNPACKED_LIMIT).read_to_end(&mut out)?;
        }
        d if d.starts_with(LZ4_LEGACY) => lz4(&d[LZ4_LEGACY.len()..], &mut out)?,
        _ => return Err(other("is packed in a way that is not known".into())),
    }
    Ok(out)
}

/// A legacy LZ4 stream: blocks with their length in front. In a kernel image the length of the whole follows.
fn lz4(mut rest: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut block = vec![0; LZ4_BLOCK];
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some(packed) = after.get(..length).filter(|_| !after.is_empty()) else { break };
        let made = lz4_flex::block::decompress_into(packed, &mut block).map_err(std::io::Error::other)?;
        out.extend_from_slice(&block[..made]);
        rest = &after[length..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn bzimage(packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x400 + 0x30];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&0x30u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        image.extend_from_slice(packed);
        image.extend_from_slice(b"more");
        image
    }

    fn read(data: &[u8]) -> Result<Vec<u8>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(data).unwrap();
        read_elf(file.path())
    }

    #[test]
    fn an_elf_file_is_found_in_each_packing() {
        let elf = [ELF, &[7; 3000]].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&elf).unwrap();
        let gzip = gzip.finish().unwrap();
        let block = lz4_flex::block::compress(&elf);
        let size = (elf.len() as u32).to_le_bytes();
        let lz4 = [LZ4_LEGACY, &(block.len() as u32).to_le_bytes(), &block, &size].concat();
        let zstd = ruzstd::encoding::compress_to_vec(&elf[..], ruzstd::encoding::CompressionLevel::Fastest);
        for packed in [&gzip, &zstd, &lz4] {
            assert_eq!(read(packed).unwrap(), elf);
            assert_eq!(read(&bzimage(packed)).unwrap(), elf);
        }
        assert_eq!(read(&elf).unwrap(), elf);
    }

    #[test]
    fn what_holds_none_is_named() {
        for (data, why) in [
            (&b"text"[..], "is neither"),
            (&bzimage(b"what is this"), "not known"),
            (&bzimage(&[GZIP, b"xx"].concat()), ""),
        ] {
            let failure = read(data).unwrap_err();
            assert!(failure.to_string().contains(why), "{failure}");
        }
    }
}
