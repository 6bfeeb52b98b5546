//! What a symbol that a patch refers to means in the shipped kernel, and by which name, position and way the
//! patch module gets at it.

use differ::Refusal;

use super::located::{Located, State};
use super::shipped::{Shipped, symbol_at};
use super::symvers::KernelObject;
use super::unit::{KernelContext, Way};
use crate::elf::{PlainPlace, STB_LOCAL, STB_WEAK};
use crate::error::refusal;

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Meaning {
    pub(super) object: KernelObject,
    pub(super) name: String,
    pub(super) sympos: u32,
    /// The object whose livepatch relocations use the symbol; `None`: the symbol is exported.
    pub(super) by: Option<KernelObject>,
    /// Its address, where it is a function that no indirect call may lead to any more.
    pub(super) sealed: bool,
}

impl Meaning {
    pub(super) fn way(&self) -> Way {
        self.by.clone().map_or(Way::Exported, Way::Livepatch)
    }
}

/// The references of one unit.
pub(super) struct References<'a> {
    pub(super) unit: &'a str,
    pub(super) object: &'a KernelObject,
    pub(super) located: &'a Located<'a>,
    pub(super) context: &'a KernelContext<'a>,
}

const REBUILD: &str = "leave out the change that refers to it, or refer to something that is exported";

impl References<'_> {
    fn refusal(&self, what: &str, name: &str, why: impl Into<String>, remedy: &str) -> Refusal {
        refusal(what, format!("{name} ({})", self.unit), why, remedy)
    }

    /// What the original unit's own symbol `name` is in the shipped object.
    pub(super) fn existing(&self, name: &str) -> Result<Meaning, Refusal> {
        let inconsistent =
            "the original object has no symbol of that name: the patch object is of another one";
        let refused = |why: String| self.refusal("what a reference means cannot be told", name, why, REBUILD);
        let original = &self.located.original;
        let symbol = original.symbol(name).ok_or_else(|| refused(inconsistent.to_owned()))?;
        let plain = &original.object.symbols[symbol];
        let state = self.located.functions.get(&symbol);
        let differs = matches!(state, Some(State::Differs(_) | State::Missing));
        // Of a weak function, another unit's may be linked.
        if plain.place == PlainPlace::Undefined || plain.binding == STB_WEAK && differs {
            return self.elsewhere(name);
        }
        if plain.binding != STB_LOCAL
            && *self.object == KernelObject::Kernel
            && self.context.symvers.is_open(name)
        {
            let address = self.located.address(symbol).unwrap_or_default();
            return Ok(Meaning {
                object: KernelObject::Kernel,
                name: name.to_owned(),
                sympos: 0,
                by: None,
                sealed: self.located.shipped.is_sealed(address),
            });
        }
        let there = self.located.shipped.named(name);
        if there.is_empty() {
            return Err(refused(format!("{} keeps no name for it", self.object.name())));
        }
        if differs {
            return Err(refused(format!("no function of that name in {} has its code", self.object.name())));
        }
        let address = self.located.address(symbol).ok_or_else(|| {
            refused(format!(
                "{} has {} symbols of that name, and no shipped code of this unit that is unchanged tells \
                 which of them is meant",
                self.object.name(),
                there.len()
            ))
        })?;
        self.at(name, address)
    }

    /// The symbol of the unit's own object with a name and an address.
    pub(super) fn at(&self, name: &str, address: u64) -> Result<Meaning, Refusal> {
        let shipped = self.located.shipped;
        if shipped.is_of_start(address) {
            return Err(self.refusal(
                "what only the start needs is referred to",
                name,
                "it is in a section that the kernel frees once it has started",
                REBUILD,
            ));
        }
        let position = match shipped {
            Shipped::Kernel(image) => {
                let there: Vec<u64> = image.named(name).map(|s| s.address).collect();
                position(there.len(), there.iter().position(|a| *a == address))
            }
            Shipped::Module(module) => {
                let symbol = symbol_at(module, name, address);
                let only = module.named(name).count() == 1;
                symbol.and_then(|s| if only { Some(0) } else { module.position(s) })
            }
        };
        let sympos = position.ok_or_else(|| {
            let why = "the kernel counts symbols of that name in one way before the module has started and \
             in \
                       another afterwards";
            self.refusal("what a reference means cannot be told", name, why, REBUILD)
        })?;
        Ok(Meaning {
            object: self.object.clone(),
            name: name.to_owned(),
            sympos,
            by: Some(self.object.clone()),
            sealed: shipped.is_sealed(address),
        })
    }

    /// Does a name mean something to the shipped module that the unit belongs to: its own, or an export?
    pub(super) fn is_shipped(&self, name: &str) -> bool {
        let is_own = match self.located.shipped {
            Shipped::Module(module) => module.named(name).any(|(_, s)| s.binding != STB_LOCAL),
            Shipped::Kernel(_) => false,
        };
        is_own || self.context.symvers.is_open(name) || self.context.symvers.exporter(name).is_some()
    }

    /// What a name means that the unit does not define.
    pub(super) fn elsewhere(&self, name: &str) -> Result<Meaning, Refusal> {
        let meaning = |object: KernelObject, sympos, by, sealed| {
            Ok(Meaning { object, name: name.to_owned(), sympos, by, sealed })
        };
        let image = self.context.image;
        let global = || image.named(name).find(|s| s.is_global()).map(|s| s.address);
        if self.context.symvers.is_open(name) {
            let sealed = global().is_some_and(|a| image.is_sealed(a));
            return meaning(KernelObject::Kernel, 0, None, sealed);
        }
        if let Shipped::Module(module) = self.located.shipped
            && module.named(name).any(|(_, s)| s.binding != STB_LOCAL)
        {
            let address = self.located.shipped.global(name).unwrap_or_default();
            return self.at(name, address);
        }
        if let Some(object @ KernelObject::Module(_)) = self.context.symvers.exporter(name) {
            if *self.object == KernelObject::Kernel {
                let why = format!("{} has it, which need not be loaded when the patch is", object.name());
                return Err(self.refusal("the kernel itself refers to a module", name, why, REBUILD));
            }
            return meaning(object, 0, Some(self.object.clone()), false);
        }
        let there: Vec<(u64, bool)> = image.named(name).map(|s| (s.address, s.is_global())).collect();
        let which = match there.as_slice() {
            [_] => Some(0),
            several => several.iter().position(|(_, global)| *global),
        };
        let Some(which) = which else {
            let why = if there.is_empty() {
                "neither the kernel, nor the patched module, nor another unit of the patch has it".to_owned()
            } else {
                format!(
                    "the kernel has {} symbols of that name, all of them local to their units",
                    there.len()
                )
            };
            return Err(self.refusal("undefined symbol", name, why, REBUILD));
        };
        let address = there[which].0;
        if image.is_of_start(address) {
            return Err(self.refusal(
                "what only the start needs is referred to",
                name,
                "it is in a section that the kernel frees once it has started",
                REBUILD,
            ));
        }
        let sympos = position(there.len(), Some(which)).unwrap_or_default();
        meaning(KernelObject::Kernel, sympos, Some(KernelObject::Kernel), image.is_sealed(address))
    }
}

/// Positions count from 1, where there are several.
fn position(count: usize, index: Option<usize>) -> Option<u32> {
    match index {
        Some(_) if count == 1 => Some(0),
        index => u32::try_from(index? + 1).ok(),
    }
}
