//! A consistent one-to-one map from the atoms of a known file to places of another file. It grows along the
//! references.

use std::collections::{HashMap, HashSet, VecDeque};

use super::loaded::{Content, LoadedFile, Meaning};
use super::recorded::{Atom, Base, Merged, RecordedFile};
use super::strings::{Paths, same_string, until_zero};

/// How serious a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Another path of the build in a string.
    Path,
    /// Another text: a string, or the initial value of an array of characters.
    Text,
    /// Other content of data: a constant, an initial value.
    Content,
    /// Another number in an instruction.
    Number,
    /// Another offset from a register: a member of a structure lies elsewhere.
    Offset,
    /// Other instructions, or a reference that leads to something else.
    Code,
}

/// A atom that is not the same in the other file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// Start of the atom that differs or that has the reference.
    pub(crate) atom: u64,
    /// Start of the atom that a reference leads to here, and not there.
    pub(crate) leads: Option<u64>,
    /// The number in the instruction of each file, if a number differs.
    pub(crate) numbers: Option<(u64, u64)>,
    /// It is a reference that differs.
    pub(crate) reference: bool,
    pub(crate) detail: String,
}

/// A reference that may be to the end of one atom or to the start of the next.
#[derive(Clone, Copy, Debug)]
struct Edge {
    from: u64,
    here: u64,
    there: u64,
}

/// The map while it grows.
#[derive(Debug)]
pub(crate) struct Matcher<'k, 'a> {
    pub(super) known: &'k RecordedFile<'a>,
    pub(super) other: &'k LoadedFile<'a>,
    paths: &'k Paths,
    to: HashMap<u64, u64>,
    from: HashMap<u64, u64>,
    queue: VecDeque<u64>,
    edges: Vec<Edge>,
    /// Atoms whose content is accounted for elsewhere: they are not compared.
    accounted: HashSet<u64>,
    /// Atoms that the other file does not have.
    absent: HashSet<u64>,
    /// The linker may have given equal functions one place.
    folded: bool,
    /// Atoms whose references to data are noted.
    watched: HashSet<u64>,
    /// The data that they refer to.
    relied_on: HashSet<u64>,
    found: Vec<Difference>,
}

/// Where each atom is in the other file, the data that watched atoms refer to, and what differs.
pub(crate) type Matched = (HashMap<u64, u64>, HashSet<u64>, Vec<Difference>);

impl<'k, 'a> Matcher<'k, 'a> {
    pub(crate) fn new(known: &'k RecordedFile<'a>, other: &'k LoadedFile<'a>, paths: &'k Paths) -> Self {
        Self {
            known,
            other,
            paths,
            to: HashMap::new(),
            from: HashMap::new(),
            queue: VecDeque::new(),
            edges: Vec::new(),
            accounted: HashSet::new(),
            absent: HashSet::new(),
            folded: false,
            watched: HashSet::new(),
            relied_on: HashSet::new(),
            found: Vec::new(),
        }
    }

    /// The content of the atom at `start` is accounted for elsewhere.
    pub(super) fn leave_out(&mut self, start: u64) {
        self.accounted.insert(start);
    }

    /// Notes that the other file has nothing for the atom at `start`.
    pub(super) fn has_not(&mut self, start: u64) {
        self.absent.insert(start);
    }

    /// The linker was told to give equal functions one place.
    pub(super) fn folds(&mut self) {
        self.folded = true;
    }

    /// Notes the data that these atoms refer to.
    pub(crate) fn watch(&mut self, atoms: HashSet<u64>) {
        self.watched = atoms;
    }

    /// Says where a atom is in the other file. `Err`: that contradicts what is known already.
    pub(crate) fn pair(&mut self, start: u64, there: u64) -> Result<(), String> {
        if let Some(known) = self.to.get(&start) {
            return if *known == there {
                Ok(())
            } else {
                Err(format!("at {known:#x} by one reference, at {there:#x} by another"))
            };
        }
        if self.absent.contains(&start) {
            return Err("new, where the original has something else".to_owned());
        }
        if let Some(other) = self.from.get(&there).filter(|_| !self.folded) {
            let name = self.name(*other);
            return Err(format!("what is at {there:#x} there is `{name}` already"));
        }
        self.to.insert(start, there);
        self.from.insert(there, start);
        self.queue.push_back(start);
        Ok(())
    }

    /// Where a atom is, as far as is known.
    pub(crate) fn place_of(&self, start: u64) -> Option<u64> {
        self.to.get(&start).copied()
    }

    /// Compares all atoms that are reached, and gives the differences.
    pub(crate) fn run(mut self) -> Matched {
        loop {
            while let Some(start) = self.queue.pop_front() {
                if let Some(atom) = self.known.atoms.get(&start).filter(|_| !self.accounted.contains(&start))
                {
                    let there = self.to.get(&start).copied().unwrap_or_default();
                    self.compare(&atom.clone(), there);
                }
            }
            let Some(edge) = self.edges.pop() else { break };
            self.settle(edge);
        }
        self.found.sort_by_key(|d| (d.atom, d.kind));
        self.found.dedup();
        (self.to, self.relied_on, self.found)
    }

    fn compare(&mut self, atom: &Atom, there: u64) {
        let flags = |side: &LoadedFile<'_>, at: u64| side.section(at).map(|s| s.flags & 7);
        if flags(&self.known.loaded, atom.start) != flags(self.other, there) {
            self.differs(Kind::Code, atom, "it is in another kind of section".to_owned());
        } else if atom.code {
            self.code(atom, there);
        } else {
            self.data(atom, there);
        }
    }

    pub(super) fn differs(&mut self, kind: Kind, atom: &Atom, detail: String) {
        self.found.push(Difference {
            kind,
            atom: atom.start,
            leads: None,
            numbers: None,
            reference: false,
            detail,
        });
    }

    pub(super) fn other_number(&mut self, atom: &Atom, numbers: Option<(u64, u64)>, detail: String) {
        let (kind, atom) = (Kind::Number, atom.start);
        self.found.push(Difference { kind, atom, leads: None, numbers, reference: false, detail });
    }

    fn leads_elsewhere(&mut self, from: &Atom, leads: Option<u64>, detail: String) {
        let kind = Kind::Code;
        self.found.push(Difference { kind, atom: from.start, leads, numbers: None, reference: true, detail });
    }

    fn name(&self, address: u64) -> String {
        match self.known.atom(address) {
            Some(atom) if !atom.name.is_empty() => atom.name.clone(),
            _ => format!("{address:#x}"),
        }
    }

    /// A reference of `atom` leads to `here`, and at the same point to `there` in the other file.
    pub(super) fn reference(&mut self, atom: &Atom, base: Base, here: u64, there: u64) {
        let mut meanings = (self.known.loaded.meaning(here), self.other.meaning(there));
        // The end of a variable may be where a library's variable begins, or a table of the linker's.
        if matches!(base, Base::Symbol(at) | Base::Region(at) if !self.known.loaded.is_copy(at) && at != here)
        {
            for (side, address, meaning) in
                [(&self.known.loaded, here, &mut meanings.0), (self.other, there, &mut meanings.1)]
            {
                if side.is_copy(address) || matches!(meaning, Meaning::Slot(_)) {
                    *meaning = Meaning::Own(address);
                }
            }
        }
        self.same_meaning(atom, base, meanings);
    }

    pub(super) fn same_meaning(&mut self, atom: &Atom, base: Base, meanings: (Meaning, Meaning)) {
        match meanings {
            (Meaning::Own(here), Meaning::Own(there)) => self.own(atom, base, here, there),
            (Meaning::Slot(a), Meaning::Slot(b)) => self.same_meaning(atom, Base::Unknown, (*a, *b)),
            (a, b) if a == b => {}
            (a, b) => {
                let detail = format!("it refers to {} here, to {} there", self.show(&a), show(&b));
                self.leads_elsewhere(atom, None, detail);
            }
        }
    }

    fn show(&self, meaning: &Meaning) -> String {
        match meaning {
            Meaning::Own(address) => format!("`{}`", self.name(*address)),
            Meaning::Slot(of) => self.show(of),
            other => show(other),
        }
    }

    fn own(&mut self, from: &Atom, base: Base, here: u64, there: u64) {
        let region = match base {
            Base::Region(start) => self.known.regions.get(&start),
            Base::Symbol(at) | Base::InSlot(at) => self.known.region(at),
            Base::Merged(_) | Base::Unknown => None,
        }
        .or_else(|| self.known.region(here));
        let Some(region) = region else { return self.linker_made(from, here, there) };
        let merged = if let Base::Merged(merged) = base { merged } else { region.merged };
        match merged {
            Merged::Strings(width) => return self.strings(from, here, there, width),
            Merged::Constants(size) => return self.constants(from, here, there, size),
            Merged::No => {}
        }
        let atom = match base {
            Base::Symbol(at) | Base::InSlot(at) => self.known.atom(at),
            Base::Region(_) if here >= region.end => self.known.last_of(region),
            Base::Region(_) if here < region.start => self.known.atom(region.start),
            _ => self.known.atom(here),
        };
        let Some(atom) = atom else { return self.linker_made(from, here, there) };
        let unsure = !atom.code && !matches!(base, Base::Symbol(_) | Base::InSlot(_)) && here == atom.start;
        if unsure && self.known.before(atom).is_some() {
            self.edges.push(Edge { from: from.start, here, there });
            return;
        }
        self.lead(from, &atom.clone(), here, there);
    }

    /// The reference is to `atom`, at this place of it.
    fn lead(&mut self, from: &Atom, atom: &Atom, here: u64, there: u64) {
        if !atom.code && self.watched.contains(&from.start) {
            self.relied_on.insert(atom.start);
        }
        let start = there.wrapping_sub(here.wrapping_sub(atom.start));
        if let Err(why) = self.pair(atom.start, start) {
            let near = [self.known.before(atom), self.known.atom(atom.end())];
            let beside = |p: &Atom| self.place_of(p.start).map(|at| at.wrapping_sub(p.start));
            let shift = there.wrapping_sub(here);
            // The reference may mean the end of the atom before it, or a place before the atom behind it.
            if !atom.code
                && near.into_iter().flatten().any(|p| p.region == atom.region && beside(p) == Some(shift))
            {
                return;
            }
            let detail = format!("it refers to `{}`, which is {why}", self.name(atom.start));
            self.leads_elsewhere(from, Some(atom.start), detail);
        }
    }

    fn settle(&mut self, edge: Edge) {
        let (Some(from), Some(atom)) = (self.known.atoms.get(&edge.from), self.known.atom(edge.here)) else {
            return;
        };
        self.lead(&from.clone(), &atom.clone(), edge.here, edge.there);
    }

    /// What no object brought: the start or the end of a section, or a place in what the linker made.
    fn linker_made(&mut self, from: &Atom, here: u64, there: u64) {
        let bounds = |side: &LoadedFile<'_>, at: u64| -> Vec<(String, i64, i64)> {
            let holds = |s: &&crate::elf::Section| {
                super::loaded::is_memory(s) && at >= s.address && at - s.address <= s.size
            };
            let place = |s: &crate::elf::Section| {
                (s.name.clone(), (at - s.address).cast_signed(), (s.address + s.size - at).cast_signed())
            };
            side.elf.sections.iter().filter(holds).map(place).collect()
        };
        let (ours, theirs) = (bounds(&self.known.loaded, here), bounds(self.other, there));
        let same = ours.is_empty() && theirs.is_empty()
            || ours.iter().any(|(name, start, end)| {
                theirs.iter().any(|(n, s, e)| n == name && (s == start || e == end))
            });
        if !same {
            let detail = format!("it refers to {here:#x} here, to another place of the file there");
            self.leads_elsewhere(from, None, detail);
        }
    }

    fn strings(&mut self, from: &Atom, here: u64, there: u64, width: u64) {
        let (ours, theirs) = (self.known.loaded.rest(here), self.other.rest(there));
        if width > 1 {
            if until_zero(ours, width) != until_zero(theirs, width) {
                self.differs(Kind::Text, from, "a string of wide characters differs".to_owned());
            }
            return;
        }
        self.texts(from, ours, theirs);
    }

    /// Compares two zero-terminated texts that belong to `from`.
    pub(super) fn texts(&mut self, from: &Atom, ours: &[u8], theirs: &[u8]) {
        match same_string(ours, theirs, self.paths) {
            Ok(false) => {}
            Ok(true) => self.differs(Kind::Path, from, "a path of the build in a string".to_owned()),
            Err(detail) => self.differs(Kind::Text, from, detail),
        }
    }

    fn constants(&mut self, from: &Atom, here: u64, there: u64, size: u64) {
        let (ours, theirs) = (self.known.loaded.content(here, size), self.other.content(there, size));
        if ours.is_none() || ours != theirs {
            self.differs(Kind::Code, from, "it uses another constant there".to_owned());
        }
    }

    /// Are `length` bytes at both places the same?
    pub(super) fn same_bytes(&self, here: u64, there: u64, length: u64) -> bool {
        let zeros = |c: Content<'_>| match c {
            Content::Zero => true,
            Content::Bytes(bytes) => bytes.iter().all(|b| *b == 0),
        };
        match (self.known.loaded.content(here, length), self.other.content(there, length)) {
            (Some(Content::Bytes(a)), Some(Content::Bytes(b))) => a == b,
            (Some(a), Some(b)) => zeros(a) && zeros(b),
            _ => false,
        }
    }
}

fn show(meaning: &Meaning) -> String {
    match meaning {
        Meaning::Own(address) => format!("{address:#x} of the file"),
        Meaning::Named(name, _) => format!("`{name}` of a library"),
        Meaning::ThreadLocal(_, name, _) => format!("the thread-local `{name}`"),
        Meaning::Slot(of) => show(of),
        Meaning::Constant(value) => format!("the number {value:#x}"),
    }
}
