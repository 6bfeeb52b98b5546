//! Types of a unit, as a graph.

use std::collections::HashMap;

/// Offset of a DIE in `.debug_info`.
pub(crate) type TypeId = usize;

/// All types that matter for layouts.
#[derive(Debug, Default)]
pub(crate) struct Types {
    pub(crate) all: HashMap<TypeId, Type>,
    /// Structures, classes, unions and enumerations by qualified name.
    pub(crate) named: HashMap<String, TypeId>,
    /// Qualified names by type.
    pub(crate) labels: HashMap<TypeId, String>,
}

/// One type.
#[derive(Debug, Default, Clone)]
pub(crate) struct Type {
    pub(crate) size: Option<u64>,
    /// The type that it is made of, or points to.
    pub(crate) inner: Option<TypeId>,
    /// Element counts of an array.
    pub(crate) counts: Vec<u64>,
    /// `const`.
    pub(crate) is_const: bool,
    /// A pointer or reference.
    pub(crate) is_pointer: bool,
    /// It is only declared here, and defined elsewhere.
    pub(crate) is_declaration: bool,
    pub(crate) members: Vec<Field>,
    /// Names and values of an enumeration.
    pub(crate) enumerators: Vec<(String, i64)>,
    /// For a type that the language has.
    pub(crate) number: Option<Number>,
}

/// What the bits of a number mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Whole,
    Real,
}

/// A member as declared. A base class has the name of its type.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: Option<String>,
    /// In bits from the beginning.
    pub(crate) bit_offset: u64,
    /// Of a bit field.
    pub(crate) bit_size: Option<u64>,
    pub(crate) type_id: Option<TypeId>,
}

/// A structure, flattened to what a program sees of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// In bytes.
    pub(crate) size: Option<u64>,
    pub(crate) members: Vec<Member>,
}

/// One member. The members of an anonymous structure count as members of the structure around it.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// In bits from the beginning.
    pub(crate) offset: u64,
    /// In bits, when known.
    pub(crate) size: Option<u64>,
}

/// Deeper nesting than this is not followed.
const DEPTH: usize = 32;

impl Types {
    /// Size in bytes.
    pub(crate) fn size_of(&self, id: TypeId) -> Option<u64> {
        self.size_within(id, DEPTH)
    }

    fn size_within(&self, id: TypeId, depth: usize) -> Option<u64> {
        let depth = depth.checked_sub(1)?;
        let t = self.all.get(&id)?;
        if t.counts.is_empty() {
            return t.size.or_else(|| self.size_within(t.inner?, depth));
        }
        t.counts.iter().try_fold(self.size_within(t.inner?, depth)?, |size, &n| size.checked_mul(n))
    }

    /// The layout of a structure.
    pub(crate) fn layout(&self, id: TypeId) -> Option<Layout> {
        let members = self.members(id)?.into_iter().map(|(member, _)| member).collect();
        Some(Layout { size: self.all.get(&id)?.size, members })
    }

    /// The members of a structure, with their types.
    pub(crate) fn members(&self, id: TypeId) -> Option<Vec<(Member, Option<TypeId>)>> {
        let t = self.all.get(&id).filter(|t| !t.is_declaration)?;
        let mut members = Vec::new();
        self.flatten(t, 0, DEPTH, &mut members);
        Some(members)
    }

    fn flatten(&self, t: &Type, base: u64, depth: usize, out: &mut Vec<(Member, Option<TypeId>)>) {
        let Some(depth) = depth.checked_sub(1) else { return };
        for field in &t.members {
            let offset = base + field.bit_offset;
            let inner = field.type_id.and_then(|id| self.all.get(&id));
            match (&field.name, inner) {
                (None, Some(inner)) => self.flatten(inner, offset, depth, out),
                (None, None) => {}
                (Some(name), _) => {
                    let bits = || field.type_id.and_then(|id| self.size_of(id)).map(|bytes| bytes * 8);
                    let size = field.bit_size.or_else(bits);
                    out.push((Member { name: name.clone(), offset, size }, field.type_id));
                }
            }
        }
    }

    /// The name of the pointer that lies `bit` bits behind the beginning of a structure.
    pub(crate) fn pointer_at(&self, id: TypeId, bit: u64) -> Option<String> {
        self.pointer_within(id, bit, DEPTH)
    }

    fn pointer_within(&self, id: TypeId, bit: u64, depth: usize) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        self.named_by(id).last()?.members.iter().find_map(|field| {
            let (at, inner) = (bit.checked_sub(field.bit_offset)?, field.type_id?);
            let last = *self.named_by(inner).last()?;
            let name = field.name.as_deref();
            if last.is_pointer {
                return (at == 0).then(|| name.unwrap_or_default().to_owned());
            }
            if at >= self.size_of(inner)?.checked_mul(8)? {
                return None;
            }
            let found = self.pointer_within(inner, at, depth)?;
            Some(name.map_or_else(|| found.clone(), |name| format!("{name}.{found}")))
        })
    }

    /// The structures that these types are, or point to.
    pub(crate) fn pointed(&self, of: impl Iterator<Item = TypeId>) -> std::collections::HashSet<TypeId> {
        let mut found = std::collections::HashSet::new();
        for id in of {
            let mut next = Some(id);
            for _ in 0..DEPTH {
                let Some(t) = next.and_then(|id| self.all.get(&id)) else { break };
                if !t.members.is_empty() {
                    found.extend(next);
                    break;
                }
                next = t.inner;
            }
        }
        found
    }

    /// Is an object of this type declared as constant? For an array the type of its elements counts.
    pub(crate) fn is_constant(&self, id: TypeId) -> bool {
        let parts = self.named_by(id);
        parts.into_iter().any(|t| t.is_const)
    }

    /// The enumeration of which an object of this type is a value; `None` for any other type.
    pub(crate) fn is_value(&self, id: TypeId) -> bool {
        self.named_by(id).last().is_some_and(|t| !t.enumerators.is_empty())
    }

    /// The type, and the types that it is another name, a qualified form or an array of.
    fn named_by(&self, id: TypeId) -> Vec<&Type> {
        let mut found: Vec<&Type> = Vec::new();
        let mut next = Some(id);
        while let Some(t) = next.filter(|_| found.len() < DEPTH).and_then(|id| self.all.get(&id)) {
            found.push(t);
            next = t.inner.filter(|_| !t.is_pointer);
        }
        found
    }

    /// All types that can be reached from `roots`, by containment and by pointer.
    pub(crate) fn reach(&self, roots: impl Iterator<Item = TypeId>) -> std::collections::HashSet<TypeId> {
        self.follow(roots, true)
    }

    /// All types that objects of `roots` contain.
    pub(crate) fn contained(&self, roots: impl Iterator<Item = TypeId>) -> std::collections::HashSet<TypeId> {
        self.follow(roots, false)
    }

    fn follow(
        &self,
        roots: impl Iterator<Item = TypeId>,
        pointers: bool,
    ) -> std::collections::HashSet<TypeId> {
        let mut seen = std::collections::HashSet::new();
        let mut todo: Vec<TypeId> = roots.collect();
        while let Some(id) = todo.pop() {
            if seen.insert(id)
                && let Some(t) = self.all.get(&id)
            {
                todo.extend(t.inner.filter(|_| pointers || !t.is_pointer));
                todo.extend(t.members.iter().filter_map(|m| m.type_id));
            }
        }
        seen
    }
}
