//! Little-endian records of the `.upatch.*` sections.

use super::ImageError;

/// Writes a table.
#[derive(Debug, Default)]
pub(super) struct Encoder(pub(super) Vec<u8>);

impl Encoder {
    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A length as u32, then the bytes. Lengths here are those of names and small tables.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn count(&mut self, n: usize) -> &mut Self {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX))
    }
}

/// Reads a table; every read is checked against its end.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    table: &'static str,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(table: &'static str, bytes: &'a [u8]) -> Self {
        Self { table, rest: bytes }
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> ImageError {
        ImageError::Damaged { table: self.table, why: why.into() }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], ImageError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| self.damaged("ends early"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.damaged("ends early"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, ImageError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, ImageError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, ImageError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, ImageError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes8(&mut self) -> Result<[u8; 8], ImageError> {
        self.array()
    }

    pub(super) fn bytes32(&mut self) -> Result<[u8; 32], ImageError> {
        self.array()
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ImageError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(super) fn string(&mut self) -> Result<String, ImageError> {
        let bytes = self.bytes()?.to_vec();
        String::from_utf8(bytes).map_err(|_| self.damaged("a name is not UTF-8"))
    }

    /// `count` records of at least `least` bytes each; memory is only set aside for what can be there.
    pub(super) fn list<T>(
        &mut self,
        least: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, ImageError>,
    ) -> Result<Vec<T>, ImageError> {
        let count = self.u32()? as usize;
        if count.checked_mul(least).is_none_or(|need| need > self.rest.len()) {
            return Err(self.damaged(format!("says it has {count} records")));
        }
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn end(&self) -> Result<(), ImageError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged("has bytes after its end")) }
    }
}
