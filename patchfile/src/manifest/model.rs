//! `manifest.yaml`: what a patch directory holds and which package and ELF files it fits.

use super::kernel::{self, Kernel};
use crate::{Arch, BuildId, Digest, Uuid};
use serde::{Deserialize, Serialize};

/// Version of the manifest and of the patch ELF that this crate writes. One number for both: they travel
/// together.
pub const FORMAT: u32 = 1;
/// Version of a patch in which one ELF file refers to what the patch adds to another. Written only where it
/// is needed.
pub const FORMAT_SIBLINGS: u32 = 2;
/// Version of the manifest of a patch for the kernel, which has a module in place of patch ELF files.
pub const FORMAT_KERNEL: u32 = 3;
/// Version of a patch that redirects a function by way of padding near by. Written only where it is needed.
pub(crate) const FORMAT_HOPS: u32 = 4;

/// Version of a manifest whose digest is over its bytes as they are in the file. In the versions before, it
/// is over the text that the YAML library makes of the parsed content, so that another version of that
/// library could take a patch for damaged. It is also the version of a patch that brings libraries
/// ([`crate::image::Image::companions`]), and written only for one: older programs read what they can.
pub const FORMAT_BYTES: u32 = 5;

/// Does this crate read patch ELF files of this version?
pub(crate) fn is_known_format(format: u32) -> bool {
    matches!(format, FORMAT | FORMAT_SIBLINGS | FORMAT_HOPS | FORMAT_BYTES)
}

/// The key of the digest. In [`FORMAT_BYTES`] it is in the last line, and the digest is over all lines
/// before.
const DIGEST_KEY: &str = "digest: ";

/// The manifest of one patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version: the highest that a patch ELF needs, see [`crate::image::Image::format`].
    pub format: u32,
    /// Identity, made from the content by [`Manifest::seal`].
    pub uuid: Uuid,
    /// Patch name, `[A-Za-z0-9._+-]+`, such as `CVE-2025-32023` or `HP001`.
    pub name: String,
    /// Version of the patch package.
    pub version: u32,
    /// Release of the patch package.
    pub release: u32,
    /// Architecture.
    pub arch: Arch,
    /// What is patched.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The package patched.
    pub package: Package,
    /// Of a patch for the kernel, and only of such: which kernel, and the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// CVE ids fixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cve: Vec<String>,
    /// Licence of the package.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The patch files it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// One entry per patched ELF.
    pub elfs: Vec<Elf>,
    /// Digest of this manifest without this field, see [`Manifest::seal`] and [`FORMAT_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What kind of code a patch changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// User-space ELF files.
    User,
    /// The kernel or its modules.
    Kernel,
}

/// The package a patch fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Name; of a source tree, the directory's name.
    pub name: String,
    /// RPM epoch, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Version; empty for a source tree that has none.
    pub version: String,
    /// Release; empty for a source tree.
    pub release: String,
}

impl Package {
    /// `name-version-release`, parts that are empty left out.
    pub fn nvr(&self) -> String {
        let parts = [&self.name, &self.version, &self.release];
        parts.iter().filter(|p| !p.is_empty()).map(|p| p.as_str()).collect::<Vec<_>>().join("-")
    }
}

/// A patch file the patch was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// File name.
    pub file: String,
    /// Its digest.
    pub sha256: Digest,
}

/// One ELF file that is patched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elf {
    /// File name of the target.
    pub name: String,
    /// Where the package installs it; for a source tree, its path below the tree. Information, not identity.
    pub path: String,
    /// Where else the package installs the very same file: hard links and copies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Identity of the target, if it has a build-id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<BuildId>,
    /// Identity of the target otherwise: digest over its executable segments as in the file, in order. Of the
    /// kernel and its modules, which have build-ids: of the whole file.
    pub code: Digest,
    /// File name of the patch ELF in the patch directory. Plain name, no slash. Of a patch for the kernel,
    /// the module, which is the same for all.
    pub patch: String,
    /// Digest of the patch ELF.
    pub sha256: Digest,
    /// Functions replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Functions added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<String>,
}

impl Elf {
    /// Where the package installs it.
    pub fn paths(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.path).chain(&self.also)
    }
}

/// Why a manifest is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML or not of this shape.
    #[error("manifest does not parse: {0}")]
    Syntax(String),
    /// Another format version.
    #[error("manifest has format version {found}, this program reads versions up to {FORMAT_BYTES}")]
    Format {
        /// The version found.
        found: u32,
    },
    /// It was changed after it was made.
    #[error("manifest was changed after it was made: digest is {found}, should be {expected}")]
    Digest {
        /// What the file says.
        found: String,
        /// What its content gives.
        expected: Digest,
    },
    /// A field holds something it must not.
    #[error("manifest field {field}: {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Manifest {
    /// Fills in `uuid` and `digest` from the content. A patch for the kernel has its uuid already, made from
    /// what goes into the module ([`Uuid::from_digest`]): the module holds it as its version, so it cannot be
    /// made from what holds the module's digest.
    ///
    /// # Errors
    /// [`ManifestError::Field`] when the content is not acceptable, see [`Manifest::parse`].
    pub fn seal(&mut self) -> Result<(), ManifestError> {
        self.check_fields()?;
        self.digest = None;
        if self.kernel.is_none() {
            self.uuid = Uuid::from_bytes([0; 16]);
            self.uuid = Uuid::from_digest(&Digest::of(self.text()?.as_bytes()));
        }
        self.digest = Some(self.expected_digest()?);
        Ok(())
    }

    /// Reads and checks a manifest: format version first, then digest, then every field a path is made from.
    ///
    /// # Errors
    /// Each way in which the text can be unusable; a hand-edited manifest gives [`ManifestError::Digest`].
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let syntax = |e: serde_yaml::Error| ManifestError::Syntax(e.to_string());
        let version: Version = serde_yaml::from_str(text).map_err(syntax)?;
        let ours = [FORMAT_KERNEL, FORMAT_BYTES].contains(&version.format);
        if !ours && !is_known_format(version.format) {
            return Err(ManifestError::Format { found: version.format });
        }
        let manifest: Self = serde_yaml::from_str(text).map_err(syntax)?;
        let expected =
            if version.format < FORMAT_BYTES { manifest.expected_digest()? } else { digest_of_text(text) };
        if manifest.digest != Some(expected) {
            let found = manifest.digest.map_or("absent".into(), |d| d.to_string());
            return Err(ManifestError::Digest { found, expected });
        }
        manifest.check_fields()?;
        Ok(manifest)
    }

    /// The YAML text.
    ///
    /// # Errors
    /// [`ManifestError::Syntax`] when YAML cannot express it.
    pub fn text(&self) -> Result<String, ManifestError> {
        serde_yaml::to_string(self).map_err(|e| ManifestError::Syntax(e.to_string()))
    }

    /// `<package>/<PATCH>`, the long form of the patch's ID.
    pub fn id(&self) -> String {
        format!("{}/{}", self.package.nvr(), self.name)
    }

    fn expected_digest(&self) -> Result<Digest, ManifestError> {
        let bare = Self { digest: None, ..self.clone() };
        Ok(Digest::of(bare.text()?.as_bytes()))
    }

    fn check_fields(&self) -> Result<(), ManifestError> {
        let field = |field, why: &str| Err(ManifestError::Field { field, why: why.into() });
        if !is_safe_name(&self.name) {
            return field("name", "must be made of letters, digits and ._+- and not begin with a dot");
        }
        if !is_safe_name(&self.package.nvr()) {
            return field("package", "must be made of letters, digits and ._+-~^ and not begin with a dot");
        }
        if self.elfs.is_empty() {
            return field("elfs", "names no ELF file");
        }
        for elf in &self.elfs {
            if elf.patch.contains('/') || elf.patch.starts_with('.') || elf.patch.is_empty() {
                return field("elfs.patch", "must be a plain file name");
            }
        }
        if let Err((field, why)) = kernel::check(self) {
            return Err(ManifestError::Field { field, why: why.into() });
        }
        let mut files: Vec<_> = self.elfs.iter().map(|e| &e.patch).collect();
        files.sort();
        files.dedup();
        if files.len() != self.elfs.len() && self.kernel.is_none() {
            return field("elfs.patch", "one patch file stands for two ELF files");
        }
        let mut targets: Vec<_> = self.elfs.iter().map(|e| (&e.build_id, &e.code)).collect();
        targets.sort();
        targets.dedup();
        if targets.len() != self.elfs.len() {
            return field("elfs.build_id", "two ELF files cannot be told apart");
        }
        Ok(())
    }
}

/// The digest of a manifest that is sealed by its bytes: of all before the last line, which is that of the
/// digest. Where it is not, nothing is left out, and the digest in the text cannot be right.
fn digest_of_text(text: &str) -> Digest {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    let (content, last) = lines.rsplit_once('\n').unwrap_or((lines, ""));
    let covered = if last.starts_with(DIGEST_KEY) { content.len() + 1 } else { text.len() };
    Digest::of(&text.as_bytes()[..covered])
}

/// Is this usable as a patch or package name, that is, as one path component and an RPM name part?
pub fn is_safe_name(name: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._+-~^".contains(c);
    !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            format: FORMAT,
            uuid: Uuid::from_bytes([0; 16]),
            name: "CVE-2025-32023".into(),
            version: 1,
            release: 1,
            arch: Arch::X86_64,
            kind: Kind::User,
            package: Package {
                name: "redis".into(),
                epoch: None,
                version: "7.0.15".into(),
                release: "1".into(),
            },
            kernel: None,
            cve: vec!["CVE-2025-32023".into()],
            license: "BSD".into(),
            description: "Fix: out of bounds write".into(),
            sources: vec![],
            elfs: vec![Elf {
                name: "redis-server".into(),
                path: "/usr/bin/redis-server".into(),
                also: vec!["/usr/bin/redis-sentinel".into()],
                build_id: BuildId::new([1, 2, 3]),
                code: Digest::of(b"code"),
                patch: "redis-server.upatch".into(),
                sha256: Digest::of(b"x"),
                changed: vec!["hllAdd".into()],
                new: vec![],
            }],
            digest: None,
        }
    }

    #[test]
    fn sealed_manifest_reads_back() {
        let mut manifest = sample();
        manifest.seal().unwrap();
        assert_eq!(Manifest::parse(&manifest.text().unwrap()).unwrap(), manifest);
        assert_eq!(manifest.id(), "redis-7.0.15-1/CVE-2025-32023");
    }

    /// A manifest in the field, as an earlier version of this program has written it.
    const IN_THE_FIELD: &str = include_str!("../../tests/data/manifest-1.yaml");

    #[test]
    fn manifests_in_the_field_stay_valid() {
        let manifest = Manifest::parse(IN_THE_FIELD).unwrap();
        assert_eq!((manifest.format, manifest.name.as_str()), (FORMAT, "CVE-2025-32023"));
        // What is written today is what was written then.
        assert_eq!(manifest.text().unwrap(), IN_THE_FIELD);
    }

    #[test]
    fn digest_of_the_next_format_is_over_bytes() {
        let mut manifest = Manifest { format: FORMAT_BYTES, ..sample() };
        manifest.seal().unwrap();
        let text = manifest.text().unwrap();
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
        // The same content in other bytes, as another library for YAML might have written it.
        let other = text.replace("name: redis\n", "name: 'redis'\n");
        assert_ne!(text, other);
        assert!(matches!(Manifest::parse(&other), Err(ManifestError::Digest { .. })));
        let (content, _) = other.split_at(other.rfind(DIGEST_KEY).unwrap());
        let sealed = format!("{content}{DIGEST_KEY}{}\n", Digest::of(content.as_bytes()));
        assert_eq!(Manifest::parse(&sealed).unwrap().package.name, "redis");
        // The digest does not cover what stands behind it, so nothing may stand there.
        let behind = format!("{text}license: other\n");
        assert!(Manifest::parse(&behind).is_err());
    }

    #[test]
    fn hand_edited_manifest_is_refused() {
        let mut manifest = sample();
        manifest.seal().unwrap();
        let edited = manifest.text().unwrap().replace("hllAdd", "hllBad");
        assert!(matches!(Manifest::parse(&edited), Err(ManifestError::Digest { .. })));
    }

    #[test]
    fn other_format_version_is_told_before_anything_else() {
        let found = Manifest::parse("format: 99\nfuture: true\n");
        assert!(matches!(found, Err(ManifestError::Format { found: 99 })));
    }

    #[test]
    fn paths_in_names_are_refused() {
        for evil in ["../x", "a/b", ".hidden", ""] {
            let mut manifest = sample();
            manifest.elfs[0].patch = evil.into();
            assert!(manifest.seal().is_err(), "{evil}");
            let mut manifest = sample();
            manifest.name = evil.into();
            assert!(manifest.seal().is_err(), "{evil}");
        }
    }

    #[test]
    fn two_files_that_cannot_be_told_apart_are_refused() {
        let mut manifest = sample();
        let other = Elf { name: "other".into(), patch: "other.upatch".into(), ..manifest.elfs[0].clone() };
        manifest.elfs.push(other);
        let refused = |m: &Manifest| m.check_fields().is_err_and(|e| e.to_string().contains("told apart"));
        assert!(refused(&manifest));
        manifest.elfs[1].code = Digest::of(b"other code");
        assert!(!refused(&manifest));
        assert_eq!(manifest.elfs[0].paths().count(), 2);
    }
}
