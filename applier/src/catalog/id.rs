//! From what a user types to one patch.

use super::{Catalog, Entry, Origin, Owner, entry::EntryError, package::is_package};
use patchfile::{Uuid, paths};
use std::{ffi::OsStr, path::Path, sync::Arc};

/// A patch that is known, be it from its files, from the state on disk, or from a process that carries it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Identity.
    pub uuid: Uuid,
    /// `<package>/<PATCH>`; only the patch name where nothing but a process knows the patch.
    pub id: String,
    /// Its files, unless they are gone.
    pub entry: Option<Entry>,
    /// Its files are there, and why they cannot be used.
    pub broken: Option<Arc<EntryError>>,
}

impl Known {
    /// A patch whose files are there.
    pub(crate) fn from_entry(entry: Entry) -> Self {
        Self { uuid: entry.manifest.uuid, id: entry.manifest.id(), entry: Some(entry), broken: None }
    }

    /// A patch without files that can be used.
    pub(crate) fn without_files(uuid: Uuid, id: String, catalog: &Catalog) -> Self {
        let of_it =
            |p: &&super::Problem| p.directory.ends_with(&id) || p.directory.ends_with(uuid.to_string());
        let broken = catalog.problems.iter().find(of_it).map(|p| Arc::clone(&p.error));
        Self { uuid, id, entry: None, broken }
    }

    /// Why there is no [`Known::entry`].
    pub(crate) fn absence(&self) -> String {
        match &self.broken {
            Some(why) => format!("its files cannot be used: {why}"),
            None => "its files are gone".into(),
        }
    }

    fn answers_to(&self, text: &str) -> bool {
        if self.id == text {
            return true;
        }
        let Some((package, patch)) = text.split_once('/') else {
            return self.id.rsplit('/').next() == Some(text);
        };
        self.entry.as_ref().is_some_and(|e| e.manifest.package.name == package && e.manifest.name == patch)
    }
}

/// Does `text`, in lower case, mean the patch in the way people say it: by a CVE, by its package, by the
/// beginning of its uuid, in any case?
fn means(known: &Known, text: &str) -> bool {
    let is = |name: &str| name.eq_ignore_ascii_case(text);
    let name = known.id.rsplit('/').next().unwrap_or_default();
    let is_beginning = text.len() >= UUID_BEGINNING
        && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
        && known.uuid.to_string().starts_with(text);
    let of_manifest = known.entry.as_ref().is_some_and(|entry| {
        let (manifest, package) = (&entry.manifest, &entry.manifest.package);
        manifest.cve.iter().any(|cve| is(cve))
            || is(&package.name)
            || is(&package.nvr())
            || is(&format!("{}-{}", package.name, package.version))
            || is(&format!("{}/{}", package.name, manifest.name))
    });
    // `patch-PACKAGE-PATCH`, with or without the version of the patch and what follows: its own package.
    let package = format!("patch-{}", known.id.replace('/', "-")).to_ascii_lowercase();
    let is_package = text.strip_prefix(&package).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    is(&known.id) || is(name) || is_beginning || of_manifest || is_package
}

/// So many characters of a uuid are taken for one.
const UUID_BEGINNING: usize = 6;

/// The names among `all` that `text` may have been meant for, the likeliest first: those that a slip or two
/// leads to.
pub(crate) fn alike(text: &str, all: &[Known]) -> Vec<String> {
    let text = text.to_ascii_lowercase();
    let slips = |known: &Known| {
        let id = known.id.to_ascii_lowercase();
        let name = id.rsplit('/').next().unwrap_or_default();
        strsim::osa_distance(&text, &id).min(strsim::osa_distance(&text, name))
    };
    let mut found: Vec<_> = all.iter().map(|known| (slips(known), known.id.clone())).collect();
    found.retain(|(slips, _)| *slips <= 1 + text.len() / 10);
    found.sort();
    found.dedup();
    found.into_iter().take(3).map(|(_, id)| id).collect()
}

/// Why an ID does not stand for one patch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// Nothing answers to it.
    #[error("no patch of this name is known")]
    Unknown,
    /// Several do.
    #[error("stands for {} patches", .0.len())]
    Ambiguous(Vec<String>),
    /// It is a path, and what is there cannot be used.
    #[error(transparent)]
    Unusable(#[from] EntryError),
}

/// Finds the patch that `text` stands for among `others` (known without files) and the catalog, or at that
/// path.
///
/// # Errors
/// None or more than one patch answers to it, or it is the path of an unusable patch directory.
pub(crate) fn resolve(
    text: &OsStr,
    catalog: &Catalog,
    others: &[Known],
    owner: Owner,
) -> Result<Known, ResolveError> {
    let path = Path::new(text);
    let explicit = path.is_absolute() || path.starts_with(".") || path.starts_with("..");
    if !explicit && let Some(text) = text.to_str() {
        let known = catalog.entries.iter().cloned().map(Known::from_entry).chain(others.iter().cloned());
        let known: Vec<_> = known.collect();
        let by_uuid = text.parse::<Uuid>().ok();
        let described = |many: &[&Known]| {
            ResolveError::Ambiguous(many.iter().map(|k| format!("{} ({})", k.id, k.uuid)).collect())
        };
        let mut found: Vec<_> = known
            .iter()
            .filter(|k| by_uuid.map_or_else(|| k.answers_to(text), |uuid| k.uuid == uuid))
            .collect();
        // Two versions of a patch may be known: one that is installed, and one that only processes still
        // carry. The name means the installed version; the other is named by its uuid.
        if found.len() > 1 && found.iter().any(|k| k.entry.is_some()) {
            found.retain(|k| k.entry.is_some());
        }
        match found.as_slice() {
            [] => {}
            [one] => return Ok((*one).clone()),
            many => return Err(described(many)),
        }
        if !path.exists() {
            let text = text.to_ascii_lowercase();
            let meant: Vec<_> = known.iter().filter(|k| means(k, &text)).collect();
            match meant.as_slice() {
                [] => {}
                [one] => return Ok((*one).clone()),
                many => return Err(described(many)),
            }
        }
    }
    if path.is_file() && path.file_name() == Some(OsStr::new(paths::MANIFEST)) {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return Ok(Known::from_entry(Entry::read(parent, Origin::Named, owner)?));
    }
    if path.is_dir() || is_package(path) {
        return Ok(Known::from_entry(Entry::read(path, Origin::Named, owner)?));
    }
    Err(ResolveError::Unknown)
}
