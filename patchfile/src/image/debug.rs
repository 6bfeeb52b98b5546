//! How a patch ELF names the file with its debug information.

/// Content of `.gnu_debuglink` (GDB manual, "Debugging Information in Separate Files").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// Name of the file, which lies beside the patch ELF.
    pub file: String,
    /// CRC-32 of its bytes (the one of ISO 3309 and gzip): a debugger refuses another file of this name.
    pub crc: u32,
}

impl DebugLink {
    /// Name with its terminator, filled up to a word, and the checksum.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.file.as_bytes().to_vec();
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(&self.crc.to_le_bytes());
        out
    }
}
