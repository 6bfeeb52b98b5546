//! The build-id, which names a linked ELF file.

use crate::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Contents of an `NT_GNU_BUILD_ID` note (usually 20 bytes), shown as lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(Vec<u8>);

/// The text is not an even number (2 to 128) of hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("not a build-id: {0:?}")]
pub struct ParseBuildIdError(String);

impl BuildId {
    /// Longest build-id accepted, in bytes. GNU ld writes 16 (md5, uuid) or 20 (sha1), lld up to 32.
    pub const MAX: usize = 64;

    /// Takes the descriptor of the note. `None` if empty or longer than [`Self::MAX`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (1..=Self::MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes of the note's descriptor.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

impl FromStr for BuildId {
    type Err = ParseBuildIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).and_then(Self::new).ok_or_else(|| ParseBuildIdError(text.into()))
    }
}

impl Serialize for BuildId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BuildId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
