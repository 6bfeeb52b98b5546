//! Unwind tables of files, kept while many processes are dealt with one after the other.

use super::{elf, identity, maps::Mapping, memory::Memory, modules::Module, switches::Stacks};
use crate::TargetId;
use patchfile::BuildId;
use std::{
    collections::HashMap,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

/// While this lives, what was learned from an ELF file in one process is used in the next one that maps it.
/// The memory is given back with the last of them.
#[derive(Clone, Debug)]
pub struct Batch(#[expect(dead_code, reason = "keeps what is shared alive")] Arc<Shared>);

/// Begins a batch, or joins the one under way.
pub fn batch() -> Batch {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = current.upgrade().unwrap_or_default();
    *current = Arc::downgrade(&shared);
    Batch(shared)
}

static CURRENT: Mutex<Weak<Shared>> = Mutex::new(Weak::new());

/// What is shared.
#[derive(Debug, Default)]
struct Shared {
    /// Contents of read-only segments by file.
    contents: Mutex<HashMap<Key, Arc<[u8]>>>,
    /// Which stacks the code of files can make.
    stacks: Mutex<HashMap<Identity, Stacks>>,
    /// What files were found to be.
    files: Mutex<Option<Files>>,
}

/// Device, inode, and build-id, so that a file written over in place is another one.
type Identity = ((u64, u64), BuildId);

/// Which of some targets a file (device, inode) is.
pub(crate) type Known = HashMap<(u64, u64), Vec<usize>>;

#[derive(Debug)]
struct Files {
    since: Instant,
    targets: Vec<TargetId>,
    known: Arc<Mutex<Known>>,
}

/// For how long a file is what it was: a command looks at all processes two or three times within this.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of files with regard to `targets`: in a batch, what was found a moment ago.
pub(crate) fn known(targets: &[TargetId]) -> Arc<Mutex<Known>> {
    let shared = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let Some(shared) = shared else { return Arc::default() };
    let mut files = shared.files.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(files) = files.as_ref().filter(|f| f.since.elapsed() < FRESH && f.targets == targets) {
        return Arc::clone(&files.known);
    }
    let known = Arc::default();
    *files = Some(Files { since: Instant::now(), targets: targets.to_vec(), known: Arc::clone(&known) });
    known
}

/// Which stacks the code of a module can make. `find` finds that, and tells whether it read the file, so that
/// the answer holds for other processes too.
pub(crate) fn stacks(module: &Module, memory: &Memory, find: impl FnOnce() -> (Stacks, bool)) -> Stacks {
    let shared = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let (Some(shared), Some(id)) = (shared, module.build_id(memory)) else { return find().0 };
    let key = (module.file, id);
    let lock = || shared.stacks.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(&key) {
        return *known;
    }
    let (found, from_file) = find();
    if from_file {
        lock().insert(key, found);
    }
    found
}

/// Device, inode, build-id (so that a file written over in place is another one), offset in the file and
/// length.
type Key = ((u64, u64), BuildId, u64, usize);

/// Content of a module at a link-time address, for reading only.
///
/// In a batch, what lies in a segment that nobody may write is read from the file – not from the memory of
/// the process, which could have been forged and must not speak for other processes – and kept.
pub(crate) fn content(
    module: &Module,
    link: u64,
    len: usize,
    memory: &Memory,
    pid: i32,
    maps: &[Mapping],
) -> Option<Arc<[u8]>> {
    let own = || memory.read(module.bias.wrapping_add(link), len).ok().map(Arc::from);
    if module.file.1 == 0 {
        return own();
    }
    let shared = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
    let Some(shared) = shared else { return own() };
    let segment = module.of_kind(elf::LOAD).find(|s| link >= s.address && link - s.address < s.file_size);
    let Some(segment) = segment.filter(|s| s.flags & elf::WRITE == 0) else { return own() };
    let Some(id) = module.build_id(memory) else { return own() };
    let offset = segment.offset.wrapping_add(link - segment.address);
    let key = (module.file, id, offset, len);
    let lock = || shared.contents.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = lock().get(&key) {
        return Some(Arc::clone(bytes));
    }
    let Some(file) = identity::open_file(module, pid, maps) else { return own() };
    let mut bytes = vec![0; len];
    if !identity::file_agrees(&file, module, memory) || file.read_exact_at(&mut bytes, offset).is_err() {
        return own();
    }
    let bytes: Arc<[u8]> = bytes.into();
    lock().insert(key, Arc::clone(&bytes));
    Some(bytes)
}
