//! Pages of code that hold redirected entries stop being pages of their file: memory with the same contents
//! takes their place.
//!
//! A uprobe is set on a file, and the kernel writes it into every mapping of that file, also over a jump of
//! ours. When it is hit, the kernel executes the instruction that the *file* has there and goes on behind
//! that: in the middle of the jump. In memory without a file it sets none. The page is exchanged by one
//! system call (`mremap`), during which no thread sees anything but the one or the other, and while the
//! functions are not redirected yet.
//!
//! The memory has no file either, such as that of the image: then tools that take the memory map for a list
//! of modules would see the module end there.

use super::place::find_anywhere;
use crate::{
    ProcessError,
    arch::{FACTS, traps},
    engine::target::{
        elf, identity,
        maps::{self, Mapping},
        memory::Memory,
        modules::Module,
        pages,
        process::Process,
    },
    sys::call::SystemCall,
};
use std::{borrow::Cow, collections::BTreeSet, fs::File, ops::Range, os::unix::fs::FileExt};

const PAGE: u64 = FACTS.page;

/// Pages of code that are to be exchanged.
#[derive(Debug, Default)]
pub(crate) struct CodePages {
    /// In address order.
    pages: Vec<Page>,
}

#[derive(Debug)]
struct Page {
    address: u64,
    /// The part of it that is code. Behind that nothing of the program's is, but what a killed one of us left
    /// may be.
    code: Range<usize>,
    /// Jumps of ours in the page, as they should be.
    ours: Vec<(u64, Vec<u8>)>,
}

/// What is to stand in the pages of [`CodePages`].
#[derive(Clone, Debug, Default)]
pub(crate) struct PageContents {
    /// What stood there when it was looked at.
    seen: Vec<u8>,
    bytes: Vec<u8>,
    /// Where somebody had set a breakpoint or uprobe, which is left out.
    pub(crate) traps: Vec<u64>,
}

impl CodePages {
    /// The pages of files that hold any of the bytes `written`. `ours`: what we have written to code already.
    pub(crate) fn find(
        process: &Process,
        written: impl IntoIterator<Item = Range<u64>>,
        ours: &[(u64, Vec<u8>)],
    ) -> Self {
        let pages = |r: Range<u64>| (r.start / PAGE..=r.end.saturating_sub(1) / PAGE).map(|page| page * PAGE);
        let addresses: BTreeSet<u64> = written.into_iter().flat_map(pages).collect();
        let page = |address: u64| {
            maps::at(&process.maps, address).filter(|m| is_of_file(m))?;
            let inside =
                |(at, bytes): &&(u64, Vec<u8>)| at + bytes.len() as u64 > address && *at < address + PAGE;
            Some(Page {
                address,
                code: code_in(process, address),
                ours: ours.iter().filter(inside).cloned().collect(),
            })
        };
        Self { pages: addresses.into_iter().filter_map(page).collect() }
    }

    /// Is any of it in `range`?
    pub(super) fn meets(&self, range: &Range<u64>) -> bool {
        self.pages.iter().any(|p| p.address < range.end && range.start < p.address + PAGE)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// How many mappings a process has more when they are exchanged, at most.
    pub(super) fn mappings(&self) -> usize {
        if self.is_empty() { 0 } else { 2 * self.moves(0).len() + 1 }
    }

    /// Where the memory can be made.
    pub(super) fn place(&self, process: &Process, taken: &[(u64, u64)]) -> Result<u64, ProcessError> {
        find_anywhere(&process.maps, taken, self.size())
            .ok_or_else(|| ProcessError::unfit("it has no free memory"))
    }

    /// The call that makes the memory at `place`, where nothing is.
    pub(super) fn make(&self, place: u64) -> SystemCall {
        const READ_EXECUTE: u64 = 5;
        const FIXED_NOREPLACE: u64 = 0x10_0000;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64 | FIXED_NOREPLACE;
        SystemCall::new(libc::SYS_mmap, [place, self.size(), READ_EXECUTE, flags, u64::MAX, 0])
    }

    /// What it is to hold. Bytes of ours are as they should be, breakpoints of others are left out: nobody
    /// would answer for them.
    ///
    /// # Errors
    /// When breakpoints cannot be told from what is in the code otherwise.
    pub(crate) fn contents(&self, process: &Process) -> Result<PageContents, ProcessError> {
        let mut contents = PageContents::default();
        let mut files = Files { process, last: None };
        for page in &self.pages {
            let bytes = process.memory.read(page.address, PAGE as usize)?;
            contents.seen.extend(&bytes);
            let (bytes, traps) = if pages::is_copied(process, page.address) {
                page.without_traps(bytes, files.page(page.address))?
            } else {
                (bytes, Vec::new())
            };
            contents.bytes.extend(bytes);
            contents.traps.extend(traps);
        }
        Ok(contents)
    }

    /// As [`CodePages::contents`], for pages that have most likely not changed since they were `known`.
    pub(super) fn contents_again<'a>(
        &self,
        process: &Process,
        known: &'a PageContents,
    ) -> Result<Cow<'a, PageContents>, ProcessError> {
        let mut now = vec![0; known.seen.len()];
        for (page, bytes) in self.pages.iter().zip(now.chunks_exact_mut(PAGE as usize)) {
            process.memory.read_into(page.address, bytes)?;
        }
        Ok(if now == known.seen { Cow::Borrowed(known) } else { Cow::Owned(self.contents(process)?) })
    }

    /// What the calls of [`CodePages::moves`] move, before it is moved: where each run of pages is, where its
    /// copy belongs in the memory at `place`, and its size in bytes.
    pub(super) fn copies(&self, place: u64) -> Vec<(u64, u64, u64)> {
        self.moves(place).into_iter().map(|call| (call.args[4], call.args[0], call.args[1])).collect()
    }

    /// Writes `contents` to those of the pages, at their places, that hold something else.
    pub(super) fn correct(&self, memory: &Memory, contents: &PageContents) -> Result<(), ProcessError> {
        let mut now = [0; PAGE as usize];
        for (page, bytes) in self.pages.iter().zip(contents.bytes.chunks_exact(PAGE as usize)) {
            memory.read_into(page.address, &mut now)?;
            if now != bytes {
                memory.write(page.address, bytes)?;
            }
        }
        Ok(())
    }

    /// The calls that move the memory from `place` over the pages, in ascending order.
    pub(super) fn moves(&self, place: u64) -> Vec<SystemCall> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for page in &self.pages {
            match runs.last_mut() {
                Some((start, size)) if *start + *size == page.address => *size += PAGE,
                _ => runs.push((page.address, PAGE)),
            }
        }
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        let mut from = place;
        let call = |(to, size): (u64, u64)| {
            let at = from;
            from += size;
            SystemCall::new(libc::SYS_mremap, [at, size, size, flags, to, 0])
        };
        runs.into_iter().map(call).collect()
    }
}

impl PageContents {
    /// Is it what stands in the pages already?
    pub(super) fn is_in_place(&self) -> bool {
        self.bytes == self.seen
    }

    /// Fills the memory that [`CodePages::make`] has made.
    pub(super) fn fill(&self, memory: &Memory, place: u64) -> Result<(), ProcessError> {
        memory.write(place, &self.bytes)
    }
}

impl Page {
    /// `bytes`, which the process has there and its file has as `linked`, in which ours are as they should be
    /// and others' traps are not; and where these were.
    fn without_traps(
        &self,
        mut bytes: Vec<u8>,
        linked: Option<Vec<u8>>,
    ) -> Result<(Vec<u8>, Vec<u64>), ProcessError> {
        let unknown = || {
            let why = "code that it has changed itself, and breakpoints or uprobes of somebody else that \
             cannot be told from it";
            let at = self.address;
            Err(ProcessError::unfit(format!("in the page at {at:#x} it has {why}; take these away first")))
        };
        self.put_ours(&mut bytes);
        let Some(mut linked) = linked else {
            return if traps::may_be_in(&bytes[self.code.clone()]) {
                unknown()
            } else {
                Ok((bytes, Vec::new()))
            };
        };
        self.put_ours(&mut linked);
        let is_trap = |at: &usize| traps::is_trap(&bytes, &linked, *at);
        let differ = self.code.clone().filter(|at| bytes[*at] != linked[*at]);
        let (traps, others): (Vec<usize>, Vec<usize>) = differ.partition(is_trap);
        if !traps.is_empty() && !others.is_empty() {
            return unknown();
        }
        for at in &traps {
            bytes[*at] = linked[*at];
        }
        Ok((bytes, traps.into_iter().map(|at| self.address + at as u64).collect()))
    }

    fn put_ours(&self, page: &mut [u8]) {
        for (address, bytes) in &self.ours {
            for (at, byte) in (*address..).zip(bytes) {
                let at = at.checked_sub(self.address).and_then(|at| usize::try_from(at).ok());
                if let Some(place) = at.and_then(|at| page.get_mut(at)) {
                    *place = *byte;
                }
            }
        }
    }
}

/// Which part of the page at `address` is code of its module.
fn code_in(process: &Process, address: u64) -> Range<usize> {
    let of = |m: &Module| {
        let segments = m.of_kind(elf::LOAD).filter(|s| s.flags & elf::EXECUTE != 0);
        let ranges = segments.map(|s| (m.bias.wrapping_add(s.address), s.file_size));
        let inside =
            |(start, size): (u64, u64)| (start.max(address), start.saturating_add(size).min(address + PAGE));
        ranges.map(inside).find(|(start, end)| start < end)
    };
    let (start, end) = process.modules.iter().find_map(of).unwrap_or((address, address + PAGE));
    (start - address) as usize..(end - address) as usize
}

/// Does the kernel write uprobes into this mapping? It does not write into memory that the process may write,
/// or that is shared.
fn is_of_file(m: &Mapping) -> bool {
    m.inode != 0 && !m.replaced && !m.write && !m.shared
}

/// Files behind mappings.
struct Files<'a> {
    process: &'a Process,
    /// Inode and device of that which was asked for last.
    last: Option<((u64, u64), Option<File>)>,
}

impl Files<'_> {
    /// What the file has for the page at `address`.
    fn page(&mut self, address: u64) -> Option<Vec<u8>> {
        let mapping = maps::at(&self.process.maps, address)?;
        let key = (mapping.device, mapping.inode);
        if self.last.as_ref().is_none_or(|(last, _)| *last != key) {
            let module = self.process.modules.iter().find(|m| (m.start..m.end).contains(&address));
            let file = module.and_then(|m| identity::open_file(m, self.process.view, &self.process.maps));
            self.last = Some((key, file));
        }
        let file = self.last.as_ref()?.1.as_ref()?;
        let offset = mapping.offset + (address - mapping.start);
        let mut page = vec![0; PAGE as usize];
        let mut read = 0;
        // Behind the end of the file there are zeros.
        while read < page.len() {
            match file.read_at(&mut page[read..], offset + read as u64).ok()? {
                0 => break,
                more => read += more,
            }
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x5000;

    fn page(ours: &[(u64, &[u8])]) -> Page {
        let ours = ours.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect();
        Page { address: AT, code: 0..0xf00, ours }
    }

    /// A page as linked, and one that differs from it in these places.
    fn pair(differs: &[(usize, &[u8])]) -> (Vec<u8>, Vec<u8>) {
        let linked = vec![0x90; PAGE as usize];
        let mut has = linked.clone();
        for (at, bytes) in differs {
            has[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        (has, linked)
    }

    #[test]
    fn traps_of_others_are_left_out() {
        let (has, linked) = pair(&[(0x20, &[0xcc]), (0x100, &[0xcc, 0xcc]), (0xf80, &[7, 0xcc])]);
        let (bytes, traps) = page(&[]).without_traps(has.clone(), Some(linked.clone())).unwrap();
        assert_eq!(traps, [AT + 0x20, AT + 0x100, AT + 0x101]);
        assert_eq!((&bytes[..0xf00], &bytes[0xf00..]), (&linked[..0xf00], &has[0xf00..]));
        assert!(page(&[]).without_traps(has, None).is_err());
    }

    #[test]
    fn what_the_program_has_changed_stays() {
        let (has, linked) = pair(&[(0x20, &[1, 2, 3])]);
        assert_eq!(page(&[]).without_traps(has.clone(), Some(linked)).unwrap(), (has.clone(), vec![]));
        assert_eq!(page(&[]).without_traps(has.clone(), None).unwrap(), (has, vec![]));
        let (both, linked) = pair(&[(0x20, &[1, 2, 3]), (0x80, &[0xcc])]);
        assert!(page(&[]).without_traps(both, Some(linked)).is_err());
    }

    #[test]
    fn jumps_of_ours_are_as_they_should_be() {
        let jump = [0xe9, 1, 2, 3, 4];
        let ours = [(AT + 0x20, &jump[..]), (AT + PAGE - 2, &jump[..]), (AT - 3, &jump[..])];
        let (has, linked) = pair(&[(0x20, &[0xcc, 1, 2, 3, 4]), (0x60, &[0xcc])]);
        let (bytes, traps) = page(&ours).without_traps(has, Some(linked.clone())).unwrap();
        assert_eq!(traps, [AT + 0x60]);
        assert_eq!((&bytes[..2], &bytes[0x20..0x25], bytes[0x60]), (&[3, 4][..], &jump[..], 0x90));
        assert_eq!(bytes[PAGE as usize - 2..], [0xe9, 1]);
    }
}
