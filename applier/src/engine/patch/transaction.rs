//! Redirecting functions and giving them back, with all threads stopped.
//!
//! A patch that redirects one function changes hands with the one write to its entry. With several, each
//! entry is first sent to its stub, which does what was done before until the patch's `active` byte says
//! otherwise; the byte is the one write that changes hands; then the entries are sent to the new functions
//! directly. So between any two writes the process is wholly on the old or wholly on the new code, and which
//! it is can be read from it.

use super::entry::{EntrySite, SiteContent, jump_at};
use crate::{
    Located, ProcessError,
    engine::target::{memory::Memory, steps::Steps},
};
use patchfile::control::{self, Entry, Phase};

/// A change of the patches `images` (all that the process has).
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    memory: &'a Memory,
    images: &'a mut [Located],
    steps: &'a Steps,
    undo: Vec<(u64, Vec<u8>)>,
}

impl<'a> Transaction<'a> {
    /// Begins. Every thread of the process is stopped until the transaction is over.
    pub(crate) fn new(memory: &'a Memory, images: &'a mut [Located], steps: &'a Steps) -> Self {
        Self { memory, images, steps, undo: Vec::new() }
    }

    /// Puts the patches with these indices in force, or out of force, all or none.
    ///
    /// # Errors
    /// The first failure, after everything was put back.
    pub(crate) fn run(mut self, change: &[usize], activate: bool) -> Result<(), ProcessError> {
        if change.is_empty() {
            return Ok(());
        }
        let result = self.normalise().and_then(|()| {
            self.undo.clear();
            if activate { self.activate(change) } else { self.deactivate(change) }
        });
        if result.is_err() {
            self.undo_all();
            return result;
        }
        for l in change.iter().map(|i| &self.images[*i]) {
            let uuid = l.control.uuid;
            tracing::info!(%uuid, elf = l.control.elf, in_force = activate, "the code has changed hands");
        }
        // The change is made. What is left only makes calls faster, and the next transaction does it
        // otherwise.
        let _ = self.normalise();
        Ok(())
    }

    /// Makes every entry lead to where it shall, which it does not where something else was set on it.
    ///
    /// # Errors
    /// The first failure, after everything was put back.
    pub(crate) fn mend(mut self) -> Result<(), ProcessError> {
        let result = self.normalise();
        if result.is_err() {
            self.undo_all();
        }
        result
    }

    fn undo_all(&mut self) {
        for (address, bytes) in self.undo.drain(..).rev() {
            // Fails only when the process is gone.
            let _ = self.memory.write(address, &bytes);
        }
    }

    fn write(&mut self, what: &str, address: u64, bytes: &[u8]) -> Result<(), ProcessError> {
        let old = self.memory.read(address, bytes.len())?;
        if old == bytes {
            return Ok(());
        }
        self.steps.next(what)?;
        self.memory.write(address, bytes)?;
        self.undo.push((address, old));
        Ok(())
    }

    fn set_active(&mut self, image: usize, active: bool) -> Result<(), ProcessError> {
        let address = self.images[image].address + control::ACTIVE;
        self.write("say which code is in force", address, &[u8::from(active)])?;
        self.images[image].control.active = active;
        Ok(())
    }

    fn set_previous(&mut self, image: usize, entry: usize, to: u64) -> Result<(), ProcessError> {
        let address = self.images[image].address + control::entry(entry) + control::PREVIOUS;
        self.write("set the previous code", address, &to.to_le_bytes())?;
        self.images[image].control.entries[entry].previous = to;
        Ok(())
    }

    /// Leads an entry to `to`.
    fn lead(&mut self, entry: &Entry, to: u64) -> Result<(), ProcessError> {
        for (address, bytes) in EntrySite::from(entry).lead(to)? {
            self.write("redirect a function", address, &bytes)?;
        }
        Ok(())
    }

    /// Puts an entry's own bytes back. Padding that it went by keeps its jump until [`Self::normalise`].
    fn put_back(&mut self, entry: &Entry) -> Result<(), ProcessError> {
        self.write("redirect a function", entry.site, EntrySite::from(entry).linked())
    }

    /// Puts padding back that no entry goes by.
    fn put_padding_back(&mut self) -> Result<(), ProcessError> {
        let all = self.entries().into_iter().map(|at| self.entry(at));
        let entries: Vec<Entry> = all.filter(|e| e.hop.is_some()).collect();
        let used: Vec<u64> = entries
            .iter()
            .filter_map(|e| EntrySite::from(&self.entry(*self.chain(e.site).last()?)).hop())
            .collect();
        for entry in &entries {
            let way = EntrySite::from(entry);
            let Some((hop, linked)) = way.linked_hop().filter(|(hop, _)| !used.contains(hop)) else {
                continue;
            };
            let ours =
                |to: u64| entries.iter().any(|e| e.site == entry.site && (to == e.new || to == e.stub));
            if matches!(jump_at(self.memory, hop)?, SiteContent::Jump(to) if ours(to)) {
                self.write("put padding back", hop, linked)?;
            }
        }
        Ok(())
    }

    fn entry(&self, at: (usize, usize)) -> Entry {
        self.images[at.0].control.entries[at.1]
    }

    /// Entries at `site` whose patches are in force, the oldest first.
    fn chain(&self, site: u64) -> Vec<(usize, usize)> {
        let mut chain = Vec::new();
        for (i, image) in self.images.iter().enumerate().filter(|(_, l)| l.control.active) {
            let entries = image.control.entries.iter().enumerate();
            chain.extend(entries.filter(|(_, e)| e.site == site).map(|(j, _)| (i, j)));
        }
        chain.sort_by_key(|(i, _)| self.images[*i].control.sequence);
        chain
    }

    /// All entries of complete images.
    fn entries(&self) -> Vec<(usize, usize)> {
        let ready = self.images.iter().enumerate().filter(|(_, l)| l.control.phase == Phase::Ready);
        ready.flat_map(|(i, l)| (0..l.control.entries.len()).map(move |j| (i, j))).collect()
    }

    fn entries_of(&self, images: &[usize]) -> Vec<(usize, usize)> {
        let len = |i: usize| self.images[i].control.entries.len();
        images.iter().flat_map(|i| (0..len(*i)).map(|j| (*i, j))).collect()
    }

    /// Where the code below `at` in its chain is: the next older patch's function, or the old function, 0 if
    /// that can only be had by putting its bytes back.
    fn below(&self, at: (usize, usize)) -> u64 {
        let entry = self.entry(at);
        let chain: Vec<_> = self.chain(entry.site).into_iter().filter(|c| c.0 != at.0).collect();
        let own = self.images[at.0].control.sequence;
        let older = chain.iter().rev().find(|c| self.images[c.0].control.sequence < own);
        older.map_or(entry.resume, |c| self.entry(*c).new)
    }

    /// Makes flags and code agree, which they do not where an applier was killed. No step changes which code
    /// is in force.
    fn normalise(&mut self) -> Result<(), ProcessError> {
        for i in 0..self.images.len() {
            let ready = self.images[i].control.phase == Phase::Ready;
            if ready && self.images[i].control.active != self.images[i].in_force {
                self.set_active(i, self.images[i].in_force)?;
            }
        }
        for at in self.entries() {
            let entry = self.entry(at);
            let chain = self.chain(entry.site);
            if chain.contains(&at) {
                self.set_previous(at.0, at.1, self.below(at))?;
            }
            if !self.is_known(&entry)? {
                let image = &self.images[at.0].control;
                return Err(ProcessError::EntryChanged {
                    function: format!("function {} of patch {}", at.1, image.name),
                    address: entry.site,
                });
            }
            match chain.last().map(|top| self.entry(*top)) {
                Some(top) => self.lead(&top, top.new)?,
                None => self.put_back(&entry)?,
            }
        }
        self.put_padding_back()
    }

    /// Is what is at the entry ours: the linked bytes, or a jump to a stub or new function for it?
    fn is_known(&self, entry: &Entry) -> Result<bool, ProcessError> {
        let way = EntrySite::from(entry);
        let to = match way.found(self.memory)? {
            SiteContent::Linked => return Ok(true),
            SiteContent::Jump(to) => Some(to),
            SiteContent::Other => way.below_breakpoint(self.memory)?,
        };
        let mut entries = self.entries().into_iter().map(|at| self.entry(at));
        Ok(to.is_some_and(|to| entries.any(|e| e.site == entry.site && (to == e.new || to == e.stub))))
    }

    fn activate(&mut self, change: &[usize]) -> Result<(), ProcessError> {
        let change: Vec<usize> = change.iter().copied().filter(|i| !self.images[*i].control.active).collect();
        let highest = self.images.iter().map(|l| l.control.sequence).max().unwrap_or(0);
        for (i, sequence) in change.iter().zip(highest + 1..) {
            let address = self.images[*i].address + control::SEQUENCE;
            self.write("number the patch", address, &sequence.to_le_bytes())?;
            self.images[*i].control.sequence = sequence;
        }
        let entries = self.entries_of(&change);
        for at in &entries {
            self.set_previous(at.0, at.1, self.below(*at))?;
        }
        let by_stub = entries.len() > 1;
        for at in &entries {
            let entry = self.entry(*at);
            if by_stub && entry.previous != 0 {
                self.lead(&entry, entry.stub)?;
            }
        }
        for i in change {
            for at in entries.iter().filter(|at| at.0 == i) {
                let entry = self.entry(*at);
                if !by_stub || entry.previous == 0 {
                    self.lead(&entry, entry.new)?;
                }
            }
            self.set_active(i, true)?;
            self.images[i].in_force = true;
        }
        Ok(())
    }

    fn deactivate(&mut self, change: &[usize]) -> Result<(), ProcessError> {
        let change: Vec<usize> = change.iter().copied().filter(|i| self.images[*i].control.active).collect();
        let entries = self.entries_of(&change);
        // Functions that a newer patch has redirected again stay with it; only what it would fall back to
        // changes, which the final step sees to.
        let owned: Vec<_> =
            entries.into_iter().filter(|at| self.chain(self.entry(*at).site).last() == Some(at)).collect();
        let by_stub = owned.len() > 1;
        for at in &owned {
            let entry = self.entry(*at);
            if by_stub && entry.previous != 0 {
                self.lead(&entry, entry.stub)?;
            }
        }
        for i in change {
            for at in owned.iter().filter(|at| at.0 == i) {
                let entry = self.entry(*at);
                let older = self.below(*at);
                if !by_stub || entry.previous == 0 {
                    let lower = self.chain(entry.site).len() > 1;
                    if lower { self.lead(&entry, older)? } else { self.put_back(&entry)? }
                }
            }
            self.set_active(i, false)?;
            self.images[i].in_force = false;
        }
        Ok(())
    }
}
