//! Tells whether two types take memory for the same thing. A member may keep its name, place and size, and be
//! something else.
//!
//! An unknown type, and `void *`, agree with every type. Whole numbers of one size agree, whatever their
//! sign: a fix that makes a length unsigned does not change lengths. Structures of one name agree: they are
//! compared by themselves.

use super::types::{Number, Type, TypeId, Types};

/// Types that are nested deeper than this count as the same.
const DEPTH: usize = 8;

enum Kind {
    Unknown,
    Pointer(Option<TypeId>),
    Structure(TypeId),
    Number(Number, Option<u64>),
}

impl Types {
    /// Describes how the meaning of objects of two types differs, each with its own debug information; `None`
    /// if it does not.
    pub(crate) fn disagreement(&self, id: TypeId, other: &Self, with: TypeId) -> Option<(String, String)> {
        self.disagrees(id, other, with, DEPTH).then(|| (self.describe(id), other.describe(with)))
    }

    fn disagrees(&self, id: TypeId, other: &Self, with: TypeId, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        match (self.kind(id), other.kind(with)) {
            (Kind::Pointer(Some(a)), Kind::Pointer(Some(b))) => {
                // Objects of one size may be two spellings of the same thing. What is behind pointers is not.
                let mixed = matches!(
                    (self.kind(a), other.kind(b)),
                    (Kind::Structure(_), Kind::Number(..) | Kind::Pointer(_))
                        | (Kind::Number(..) | Kind::Pointer(_), Kind::Structure(_))
                        | (Kind::Number(..), Kind::Pointer(_))
                        | (Kind::Pointer(_), Kind::Number(..))
                );
                mixed || self.disagrees(a, other, b, depth)
            }
            (Kind::Pointer(Some(to)), Kind::Number(..)) => matches!(self.kind(to), Kind::Structure(_)),
            (Kind::Number(..), Kind::Pointer(Some(to))) => matches!(other.kind(to), Kind::Structure(_)),
            (Kind::Number(a, of), Kind::Number(b, with)) => a != b || of != with,
            (Kind::Structure(a), Kind::Structure(b)) => self.structures_differ(a, other, b, depth),
            _ => false,
        }
    }

    fn structures_differ(&self, a: TypeId, other: &Self, b: TypeId, depth: usize) -> bool {
        if self.labels.get(&a).is_some_and(|name| other.labels.get(&b) == Some(name)) {
            return false;
        }
        let (Some(was), Some(is)) = (self.members(a), other.members(b)) else { return false };
        let size = |types: &Self, id: TypeId| types.all.get(&id).and_then(|t: &Type| t.size);
        size(self, a) != size(other, b)
            || was.len() != is.len()
            || was.iter().zip(&is).any(|((was, a), (is, b))| {
                let types_differ = || Some(self.disagrees((*a)?, other, (*b)?, depth));
                was.offset != is.offset || was.size != is.size || types_differ() == Some(true)
            })
    }

    fn kind(&self, id: TypeId) -> Kind {
        let mut id = id;
        for _ in 0..DEPTH * 4 {
            let Some(t) = self.all.get(&id) else { return Kind::Unknown };
            match (t.is_pointer, t.number, t.inner) {
                (true, _, inner) => return Kind::Pointer(inner),
                (_, Some(number), _) => return Kind::Number(number, t.size),
                (_, _, Some(inner)) => id = inner,
                _ if !t.members.is_empty() => return Kind::Structure(id),
                _ if !t.enumerators.is_empty() => return Kind::Number(Number::Whole, t.size),
                _ => return Kind::Unknown,
            }
        }
        Kind::Unknown
    }

    /// In words: `a pointer to `conn``.
    fn describe(&self, id: TypeId) -> String {
        match self.kind(id) {
            Kind::Unknown => "something else".to_owned(),
            Kind::Pointer(to) => match to.map(|to| self.describe(to)) {
                Some(to) => format!("a pointer to {to}"),
                None => "a pointer".to_owned(),
            },
            Kind::Structure(id) => match self.labels.get(&id) {
                Some(name) => format!("`{}`", name.split(super::SCOPE).next().unwrap_or_default()),
                None => "a structure without a name".to_owned(),
            },
            Kind::Number(Number::Real, size) => format!("a floating-point number{}", bytes(size)),
            Kind::Number(Number::Whole, size) => format!("a number{}", bytes(size)),
        }
    }

    /// The structure that it is a pointer to.
    pub(crate) fn pointee(&self, id: TypeId) -> Option<TypeId> {
        let Kind::Pointer(Some(to)) = self.kind(id) else { return None };
        match self.kind(to) {
            Kind::Structure(id) => Some(id),
            _ => None,
        }
    }

    /// Is it a pointer to anything?
    pub(crate) fn is_any_pointer(&self, id: TypeId) -> bool {
        let nothing = |to: TypeId| {
            self.all.get(&to).is_some_and(|t| t.inner.is_none() && t.size.is_none() && t.number.is_none())
        };
        match self.kind(id) {
            Kind::Pointer(None) => true,
            // `const void *`: a qualified nothing.
            Kind::Pointer(Some(to)) => matches!(self.kind(to), Kind::Unknown) && nothing(to),
            _ => false,
        }
    }
}

fn bytes(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!(" of {size} bytes"))
}
