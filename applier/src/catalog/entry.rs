//! One patch directory: its manifest, and its images once they are needed.

use super::{
    Owner, PatchDir, ReadError,
    package::{Package, is_package},
};
use crate::LoadedPatch;
use patchfile::{
    Digest, Manifest,
    image::{Image, ImageError, validate_together},
    manifest::ManifestError,
    paths,
};
use std::path::{Path, PathBuf};

/// How a patch came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Installed below [`paths::PATCHES`].
    Installed,
    /// Applied by path; its copy below [`paths::STATE`].
    Kept,
    /// A directory named on the command line.
    Named,
}

/// A patch whose manifest has been read and checked.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The manifest.
    pub manifest: Manifest,
    /// The directory.
    pub directory: PathBuf,
    /// How it came to be known.
    pub origin: Origin,
}

/// A patch whose images have been read and checked too.
#[derive(Clone, Debug)]
pub(crate) struct LoadedEntry {
    /// The manifest.
    pub manifest: Manifest,
    /// What goes into processes: one image per entry of the manifest's list of ELF files, in order.
    pub patch: LoadedPatch,
    /// The files as read, for keeping a copy: name and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Why a patch directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It was made for a newer upatch.
    #[error("{}: {why}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which format it has.
        why: String,
    },
    /// The manifest is not as it was written.
    #[error("{}: {why}", path.display())]
    Edited {
        /// The file.
        path: PathBuf,
        /// What shows it.
        why: String,
    },
    /// A package that cannot be looked into, or holds no patch.
    #[error("{}: {why}", path.display())]
    Package {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The contents are not acceptable.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Where the files of a patch are.
enum Files {
    Directory(PatchDir),
    Package(Package),
}

impl Files {
    fn open(path: &Path, owner: Owner) -> Result<Self, EntryError> {
        if is_package(path) {
            let failed = |why: String| EntryError::Package { path: path.into(), why };
            return Package::read(path).map(Self::Package).map_err(failed);
        }
        Ok(Self::Directory(PatchDir::open(path, owner)?))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        match self {
            Self::Directory(dir) => dir.read(name),
            Self::Package(package) => package.file(name),
        }
    }
}

impl Entry {
    /// Reads the manifest of the patch directory at `path`.
    ///
    /// # Errors
    /// The directory or manifest cannot be read, is not trusted, or is not a valid manifest.
    pub(crate) fn read(path: &Path, origin: Origin, owner: Owner) -> Result<Self, EntryError> {
        let bytes = Files::open(path, owner)?.read(paths::MANIFEST)?;
        let at = || path.join(paths::MANIFEST);
        let content = |why: String| EntryError::Content { path: at(), why };
        let text = std::str::from_utf8(&bytes).map_err(|_| content("is not UTF-8 text".into()))?;
        let manifest = Manifest::parse(text).map_err(|e| match e {
            ManifestError::Format { .. } => EntryError::Newer { path: at(), why: e.to_string() },
            ManifestError::Digest { .. } => EntryError::Edited { path: at(), why: e.to_string() },
            other => content(other.to_string()),
        })?;
        Ok(Self { manifest, directory: path.into(), origin })
    }

    /// Is it in a package that is not installed?
    pub(crate) fn is_packed(&self) -> bool {
        is_package(&self.directory)
    }

    /// Reads the images. The manifest's digests tie them to the manifest read before, so a directory that is
    /// replaced between the two reads is noticed.
    ///
    /// # Errors
    /// A file is missing, not trusted, has another digest than the manifest says, or is not a valid image for
    /// the ELF file the manifest says.
    pub(crate) fn load(&self, owner: Owner) -> Result<LoadedEntry, EntryError> {
        let dir = Files::open(&self.directory, owner)?;
        let text = self.manifest.text().map_err(|e| self.content(paths::MANIFEST, e.to_string()))?;
        let mut files = vec![(paths::MANIFEST.to_owned(), text.into_bytes())];
        let mut images = Vec::new();
        for elf in &self.manifest.elfs {
            let bytes = dir.read(&elf.patch)?;
            let found = Digest::of(&bytes);
            if found != elf.sha256 {
                let why = format!("its digest is {found}, the manifest says {}", elf.sha256);
                return Err(self.content(&elf.patch, why));
            }
            if self.manifest.kernel.is_some() {
                // The module, which is the same for all.
                files.push((elf.patch.clone(), bytes));
                break;
            }
            let image = Image::parse(&bytes).map_err(|e| match e {
                ImageError::Format { .. } => {
                    EntryError::Newer { path: self.directory.join(&elf.patch), why: e.to_string() }
                }
                other => self.content(&elf.patch, other.to_string()),
            })?;
            if image.format() > self.manifest.format {
                let why =
                    format!("has format version {}, the manifest {}", image.format(), self.manifest.format);
                return Err(self.content(&elf.patch, why));
            }
            if image.arch != self.manifest.arch {
                let why = format!("is for {}, the manifest says {}", image.arch, self.manifest.arch);
                return Err(self.content(&elf.patch, why));
            }
            if image.target.build_id != elf.build_id || image.target.code != elf.code {
                return Err(self.content(&elf.patch, format!("is not for the {} of the manifest", elf.name)));
            }
            images.push(image);
            files.push((elf.patch.clone(), bytes));
        }
        validate_together(&images).map_err(|e| self.content(paths::MANIFEST, e.to_string()))?;
        let patch = LoadedPatch::new(&self.manifest, images);
        Ok(LoadedEntry { manifest: self.manifest.clone(), patch, files })
    }

    fn content(&self, file: &str, why: String) -> EntryError {
        EntryError::Content { path: self.directory.join(file), why }
    }
}
