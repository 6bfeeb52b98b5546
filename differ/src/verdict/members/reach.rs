//! Which members a function may mean by an offset.

use std::collections::{BTreeMap, HashSet};

use crate::debug::{Function, Info, OF_FUNCTION, SCOPE, TypeId};

/// Structures of functions' own, as libstdc++'s string has one that frees what was allocated if an exception
/// comes: variables of the function are such objects, and gone when it returns.
pub(super) fn short_lived(info: &Info) -> HashSet<TypeId> {
    let mut local = info.types.contained(info.automatic.iter().copied());
    local.retain(|id| info.types.labels.get(id).is_some_and(|name| name.contains(OF_FUNCTION)));
    local
}

/// Is it a member of a class of the C++ library? How such a class treats what it holds stands in its own
/// headers, which no fix of a package changes: that a function comes to make a string, or no longer does,
/// says nothing about the strings of objects.
fn is_of_library(structure: &str, member: &str) -> bool {
    let own = member.rsplit('.').next().unwrap_or(member);
    structure.starts_with("std::") || structure.starts_with("__gnu_cxx::") || own.starts_with("_M_")
}

/// The pointers at `offset` in structures that a function can get at, by name; `true` where it has such an
/// object at hand.
///
/// Where the layout has changed, offsets mean other members; and it is refused for that, or no such object is
/// older than the patch.
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
