//! A unit as it was linked: one object, or, of a program that was optimised as a whole while it was linked,
//! the several pieces that the optimiser made of it. The comparison sees those as one unit, whose names are
//! then not always those of the pieces.

use std::borrow::Cow;

use differ::Refusal;
use records::LinkRecord;

use crate::elf::Symbol;
use crate::error::{LinkError, refusal};
use crate::locate::linked::Linked;
use crate::locate::object::{Located, LocatedObject};
use crate::locate::original::{ObjectSymbol, OriginalUnit};

/// The original unit of a patch object, placed.
#[derive(Debug)]
pub(crate) struct LocatedUnit<'a> {
    unit: String,
    objects: Vec<LocatedObject<'a>>,
    /// From the unit's names to those of its pieces; `None`: the names are the object's own.
    names: Option<&'a std::collections::HashMap<String, ObjectSymbol>>,
}

impl<'a> LocatedUnit<'a> {
    /// Places all objects of a unit.
    ///
    /// # Errors
    /// When one cannot be read, or is no input of this link.
    pub(crate) fn new(
        unit: &str,
        original: &OriginalUnit<'a>,
        record: &LinkRecord,
        linked: &Linked<'_>,
    ) -> Result<Self, LinkError> {
        let place = |sha256: &str, object| LocatedObject::new(unit, sha256, object, record, linked);
        let (objects, names) = match original {
            OriginalUnit::Object { sha256, object } => (vec![place(sha256, object)?], None),
            OriginalUnit::Optimised(pieces) => {
                let objects = pieces.objects.iter().map(|(sha256, object)| place(sha256, object));
                (objects.collect::<Result<_, _>>()?, Some(&pieces.names))
            }
        };
        Ok(Self { unit: unit.to_owned(), objects, names })
    }

    /// The object that has the symbol, and its name there.
    fn find<'n>(&self, name: &'n str) -> Option<(&LocatedObject<'a>, Cow<'n, str>)> {
        match self.names {
            None => self.objects.first().map(|object| (object, Cow::Borrowed(name))),
            Some(names) => {
                let piece = names.get(name)?;
                Some((self.objects.get(piece.object)?, Cow::Owned(piece.name.clone())))
            }
        }
    }

    /// Symbol of one of the unit's objects.
    pub(crate) fn symbol(&self, name: &str) -> Option<&Symbol> {
        let (object, name) = self.find(name)?;
        object.symbol(&name)
    }

    /// Where a symbol of this unit is in the linked file. `Ok(None)`: the linker left it out.
    pub(crate) fn locate(&self, name: &str, linked: &Linked<'_>) -> Result<Option<Located>, Refusal> {
        let Some((object, own)) = self.find(name) else {
            return Err(refusal(
                "symbol not in the unit as built",
                format!("{name} ({})", self.unit),
                "no piece of the original program has it, though those compiled for comparison have",
                "report it: the two compilations should agree",
            ));
        };
        let mut located = object.locate(&own, linked)?;
        if let (Some(located), Some(linked)) = (&mut located, self.linked_name(name)) {
            linked.clone_into(&mut located.name);
        }
        Ok(located)
    }

    fn linked_name(&self, name: &str) -> Option<&str> {
        self.names?.get(name)?.linked.as_deref()
    }

    /// Name and size of the section that a symbol is in.
    pub(crate) fn section_of(&self, name: &str) -> Option<(&str, u64)> {
        let (object, name) = self.find(name)?;
        object.section_of(&name)
    }

    /// Names that the object gives to the same place: aliases, not versions.
    pub(crate) fn aliases(&self, name: &str) -> Vec<&str> {
        self.find(name).map(|(object, own)| object.aliases(&own).collect()).unwrap_or_default()
    }
}
