//! Calls of functions that ask which module called them: they return through the target, see
//! [`crate::image::epilogue`].

use std::cell::OnceCell;
use std::collections::HashSet;

use differ::{Refusal, Relocation, SectionKind};

use super::inputs::Inputs;
use super::tail_calls;
use crate::arch::{Epilogue, Site};
use crate::chunks::{Chunks, Place, Resolved};

/// Functions of the C library that go by the module of their return address, and whether a caller outside of
/// every module is taken for the program: then a program's own patch may call them as it is (glibc,
/// `elf/dl-open.c`, `elf/dl-sym.c`).
const ASKING: [(&str, bool); 4] = [("dlsym", false), ("dlvsym", false), ("dlopen", true), ("dlmopen", true)];

/// Title of the refusals.
const WHAT: &str = "function that asks which module calls it";

/// Where calls can return through.
#[derive(Debug, Default)]
pub(crate) struct CallerModule {
    /// Code that the patch replaces: address and size in the target.
    replaced: Vec<(u64, u64)>,
    epilogue: OnceCell<Option<Epilogue>>,
    /// Functions of the target that hand on who calls them.
    handing_on: OnceCell<HashSet<u64>>,
}

impl CallerModule {
    pub(crate) fn new(replaced: Vec<(u64, u64)>) -> Self {
        Self { replaced, ..Self::default() }
    }

    /// The stub for a call or jump to a function that asks for its caller; `None` for all others.
    pub(crate) fn stub(
        &self,
        inputs: &Inputs<'_, '_>,
        site: Site<'_>,
        reloc: &Relocation,
        symbol: &Resolved,
        chunks: &mut Chunks,
    ) -> Result<Option<Place>, Refusal> {
        let name = symbol.name.as_str();
        let is_branch = |chunks: &Chunks| inputs.machine.is_branch(chunks.code(site.chunk), reloc.offset);
        if self.hands_on(inputs, symbol) && is_branch(chunks) {
            return Err(site.refuse(
                WHAT,
                reloc,
                format!(
                    "{name} ends with a jump to such a function, which then sees who called {name}: code \
                         that is in no module"
                ),
                "do in the changed function what it does, and call `dlsym` or `dlopen` there",
            ));
        }
        if !asks(inputs, name) || !is_branch(chunks) {
            return Ok(None);
        }
        self.returning(inputs, site, reloc, symbol, chunks).map(Some)
    }

    /// Makes the address of a function that asks for its caller, as a value, that of a stub for it: new code
    /// may call it, and so may old code to which it is handed. Refuses where new code refers to data of the
    /// target that holds such an address, since a call by that would come from no module.
    pub(crate) fn pointer(
        &self,
        inputs: &Inputs<'_, '_>,
        site: Site<'_>,
        reloc: &Relocation,
        symbol: &mut Resolved,
        chunks: &mut Chunks,
    ) -> Result<(), Refusal> {
        let code = site.kind == SectionKind::Text;
        if let (Place::Target(at), true, false) = (symbol.address, code, symbol.function) {
            let end =
                inputs.linked.elf.symbols.iter().filter(|s| s.name == symbol.name).map(|s| s.size).max();
            let mut held = inputs.target.held(at, at.saturating_add(end.unwrap_or(0)));
            if let Some(name) = held.find(|name| asks(inputs, name)) {
                return Err(site.refuse(
                    WHAT,
                    reloc,
                    format!(
                        "`{}` holds the address of {name}, which goes by its return address: a call by that \
                         pointer comes from code that is in no module",
                        symbol.name
                    ),
                    "call the function by its name, or leave the function that calls it as it is",
                ));
            }
        }
        let is_branch = code && inputs.machine.is_branch(chunks.code(site.chunk), reloc.offset);
        if asks(inputs, &symbol.name) && !is_branch {
            let stub = self.returning(inputs, site, reloc, symbol, chunks)?;
            (symbol.address, symbol.slot) = (stub, None);
        }
        Ok(())
    }

    fn returning(
        &self,
        inputs: &Inputs<'_, '_>,
        site: Site<'_>,
        reloc: &Relocation,
        symbol: &Resolved,
        chunks: &mut Chunks,
    ) -> Result<Place, Refusal> {
        let find = || inputs.machine.find_epilogue(&inputs.target.elf, &self.replaced);
        match self.epilogue.get_or_init(find) {
            Some(epilogue) => {
                Ok(chunks.returning(symbol.call, |to| inputs.machine.returning_stub(to, *epilogue)))
            }
            None => Err(site.refuse(
                WHAT,
                reloc,
                format!(
                    "{} goes by its return address, and the target has no code that a call could return \
                     through",
                    symbol.name
                ),
                "leave the call in a function that the fix does not change",
            )),
        }
    }

    /// Is it an unchanged function of the target that ends with a jump to one that asks for its caller?
    fn hands_on(&self, inputs: &Inputs<'_, '_>, symbol: &Resolved) -> bool {
        if !symbol.function || matches!(symbol.call, Place::Chunk { .. }) && symbol.slot.is_none() {
            return false;
        }
        let find = || {
            let asking = ASKING.iter().filter(|(_, program)| !(*program && inputs.target.executable));
            let names: Vec<&str> = asking.map(|(name, _)| *name).collect();
            tail_calls::leading_to(inputs.target, &names)
        };
        let handing_on = self.handing_on.get_or_init(find);
        // What another module may take over is called through a table.
        let own = || {
            let found = inputs.linked.global(&symbol.name).ok().flatten()?;
            inputs.translate(&symbol.name, "", &found).ok()
        };
        let known = |place: Place| matches!(place, Place::Target(address) if handing_on.contains(&address));
        !handing_on.is_empty() && (known(symbol.call) || own().is_some_and(|a| known(Place::Target(a))))
    }
}

/// Is this such a function, of the C library's, for code of the target?
fn asks(inputs: &Inputs<'_, '_>, name: &str) -> bool {
    let Some((_, program)) = ASKING.iter().find(|(asking, _)| *asking == name) else { return false };
    let own = inputs.globals.contains_key(name) || !matches!(inputs.linked.global(name), Ok(None));
    !(own || *program && inputs.target.executable)
}
