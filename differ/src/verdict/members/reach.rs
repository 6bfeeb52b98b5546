//! Which members a function may mean by an offset.

use std::collections::{BTreeMap, HashSet};

use crate::debug::{Function, Info, OF_FUNCTION, SCOPE, TypeId};

/// Structures that are declared inside functions and that variables of functions are. Such objects are gone
/// when the function returns. libstdc++'s string has such a structure, which frees the memory if an exception
/// comes.
pub(super) fn short_lived(info: &Info) -> HashSet<TypeId> {
    let mut local = info.types.contained(info.automatic.iter().copied());
    local.retain(|id| info.types.labels.get(id).is_some_and(|name| name.contains(OF_FUNCTION)));
    local
}

/// Is this a member of a class of the C++ library? The headers of the library say how such a class treats its
/// members, and no fix of a package changes these headers. So it says nothing about the strings of objects if
/// a function comes to make a string, or no longer does.
fn is_of_library(structure: &str, member: &str) -> bool {
    let own = member.rsplit('.').next().unwrap_or(member);
    structure.starts_with("std::") || structure.starts_with("__gnu_cxx::") || own.starts_with("_M_")
}

/// The pointers at `offset` in structures that a function can get at, by name. `true`: the function has such
/// an object at hand.
///
/// Structures whose layout has changed do not count: their offsets mean other members, and the layout is
/// judged elsewhere.
pub(super) fn members(
    own: &Info,
    other: &Info,
    short_lived: &HashSet<TypeId>,
    function: &Function,
    offset: i64,
) -> BTreeMap<String, bool> {
    let same = |name: &String, id: TypeId| {
        other.types.named.get(name).is_some_and(|o| other.types.layout(*o) == own.types.layout(id))
    };
    let Some(bits) = u64::try_from(offset).ok().and_then(|o| o.checked_mul(8)) else {
        return BTreeMap::new();
    };
    let types = || {
        let inlined = function.inlines.iter().filter_map(|name| own.functions.get(name));
        let all: Vec<TypeId> = inlined.flat_map(|i| &i.types).chain(&function.types).copied().collect();
        all.into_iter()
    };
    let (reached, direct) = (own.types.reach(types()), own.types.pointed(types()));
    let lasts = |id: &TypeId| reached.contains(id) && !short_lived.contains(id);
    let named = own.types.named.iter().filter(|(name, id)| lasts(id) && same(name, **id));
    let members = named.filter_map(|(name, id)| {
        let name = name.split(SCOPE).next().unwrap_or_default();
        let member = own.types.pointer_at(*id, bits)?;
        (!is_of_library(name, &member)).then(|| (format!("{name}::{member}"), direct.contains(id)))
    });
    let mut found = BTreeMap::new();
    for (member, is_direct) in members {
        *found.entry(member).or_default() |= is_direct;
    }
    found
}
