//! Types as debug information tells of them: what only the code of a fix uses, no old code shows.

use std::collections::{BTreeMap, BTreeSet};

use gimli::{AttributeValue, DwAt};

use super::debug::{Bytes, DebugSections};

type Unit<'a> = gimli::Unit<Bytes<'a>>;
type Entry<'a> = gimli::DebuggingInformationEntry<Bytes<'a>>;

/// How deep a type is followed through `typedef`, `const` and arrays.
const DEPTH: usize = 16;

/// By name what a type looks like, in words; several source files may define one name.
type Types = BTreeMap<String, BTreeSet<String>>;

/// Types that the source file `name` uses here and that are other ones in the target: name, and what is meant
/// by it here and there. Nothing where either side has no debug information of that file.
pub(super) fn differing(linked: &[u8], target: &[u8], name: &str) -> Vec<(String, String)> {
    let ours = types(linked, name);
    if ours.is_empty() {
        return Vec::new();
    }
    let theirs = types(target, name);
    let mut found = Vec::new();
    for (name, looks) in ours {
        let Some(others) = theirs.get(&name) else { continue };
        if let (Some(ours), Some(theirs)) = (looks.difference(others).next(), others.iter().next()) {
            found.push((name, first_difference(ours, theirs)));
        }
    }
    found
}

fn first_difference(ours: &str, theirs: &str) -> String {
    let (mut a, mut b) = (ours.split("; "), theirs.split("; "));
    loop {
        match (a.next(), b.next()) {
            (Some(x), Some(y)) if x == y => {}
            (None, None) => return "it is another type there".to_owned(),
            (x, y) => {
                return format!("`{}` here, `{}` there", x.unwrap_or("nothing"), y.unwrap_or("nothing"));
            }
        }
    }
}

/// The types of the units whose source file ends in `name`.
fn types(file: &[u8], name: &str) -> Types {
    let mut found = Types::new();
    let sections = DebugSections::of(file);
    let Some(dwarf) = sections.dwarf() else { return found };
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next() {
        let Ok(unit) = dwarf.unit(header) else { continue };
        let source = unit.name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if !same_file(&source, name) {
            continue;
        }
        let reader = Reader { dwarf: &dwarf, unit: &unit };
        // What cannot be read says nothing.
        let _ = reader.collect(&mut found);
    }
    found
}

/// Is one of these paths the end of the other?
fn same_file(a: &str, b: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|p| !p.is_empty() && *p != ".").rev().map(str::to_owned).collect()
    };
    let (a, b) = (parts(a), parts(b));
    !a.is_empty() && !b.is_empty() && a.iter().zip(&b).all(|(x, y)| x == y)
}

struct Reader<'u, 'a> {
    dwarf: &'u gimli::Dwarf<Bytes<'a>>,
    unit: &'u Unit<'a>,
}

impl Reader<'_, '_> {
    fn collect(&self, found: &mut Types) -> gimli::Result<()> {
        let mut tree = self.unit.entries_tree(None)?;
        let root = tree.root()?;
        let mut children = root.children();
        while let Some(child) = children.next()? {
            let entry = child.entry().clone();
            let Some(name) = self.text(&entry, gimli::DW_AT_name) else {
                // An enumeration without a name is known by its first enumerator.
                if entry.tag() == gimli::DW_TAG_enumeration_type {
                    let (looks, first) = self.members(child)?;
                    if let Some(first) = first {
                        found.entry(format!("enum of {first}")).or_default().insert(looks);
                    }
                }
                continue;
            };
            let kind = match entry.tag() {
                gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => "struct",
                gimli::DW_TAG_union_type => "union",
                gimli::DW_TAG_enumeration_type => "enum",
                gimli::DW_TAG_typedef => "typedef",
                // `char` has a sign or not.
                gimli::DW_TAG_base_type => "type",
                // A variable that nothing writes may be in no file: it is a number in the code that uses it.
                gimli::DW_TAG_variable if entry.attr_value(gimli::DW_AT_const_value).is_some() => "value of",
                _ => continue,
            };
            if entry.attr_value(gimli::DW_AT_declaration).is_some() {
                continue;
            }
            let looks = match kind {
                "typedef" => self.type_of(&entry, 0),
                "value of" => match entry.attr_value(gimli::DW_AT_const_value) {
                    Some(AttributeValue::Block(bytes)) => format!("{:x?}", bytes.slice()),
                    _ => self.number(&entry, gimli::DW_AT_const_value).unwrap_or(0).to_string(),
                },
                "type" => {
                    let of =
                        [gimli::DW_AT_byte_size, gimli::DW_AT_encoding].map(|of| self.number(&entry, of));
                    format!("{of:?}")
                }
                _ => {
                    let size = self.number(&entry, gimli::DW_AT_byte_size);
                    format!("{} bytes; {}", size.unwrap_or(0), self.members(child)?.0)
                }
            };
            found.entry(format!("{kind} {name}")).or_default().insert(looks);
        }
        Ok(())
    }

    /// Members or enumerators in words, and the least name among the latter.
    fn members(
        &self,
        node: gimli::EntriesTreeNode<'_, '_, Bytes<'_>>,
    ) -> gimli::Result<(String, Option<String>)> {
        let (mut words, mut names) = (Vec::new(), Vec::new());
        let mut children = node.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            let name = self.text(entry, gimli::DW_AT_name);
            match entry.tag() {
                gimli::DW_TAG_member | gimli::DW_TAG_inheritance => {
                    let at = self.number(entry, gimli::DW_AT_data_member_location);
                    let bits = [gimli::DW_AT_data_bit_offset, gimli::DW_AT_bit_offset, gimli::DW_AT_bit_size]
                        .map(|of| self.number(entry, of));
                    let name = name.unwrap_or_default();
                    let mut text = format!("{name} at {}, {}", at.unwrap_or(0), self.type_of(entry, 0));
                    if bits.iter().any(Option::is_some) {
                        text.push_str(&format!(", bits {:?}", bits.map(Option::unwrap_or_default)));
                    }
                    words.push(text);
                }
                gimli::DW_TAG_enumerator => {
                    let value = self.number(entry, gimli::DW_AT_const_value);
                    words.push(format!("{} = {}", name.clone().unwrap_or_default(), value.unwrap_or(0)));
                    names.extend(name);
                }
                _ => {}
            }
        }
        Ok((words.join("; "), names.into_iter().min()))
    }

    /// A type as its users see it: its name and size.
    fn type_of(&self, entry: &Entry<'_>, depth: usize) -> String {
        let reference = entry.attr_value(gimli::DW_AT_type);
        let Some(AttributeValue::UnitRef(offset)) = reference else { return "void".to_owned() };
        let Ok(target) = self.unit.entry(offset) else { return String::new() };
        let name = self.text(&target, gimli::DW_AT_name).unwrap_or_default();
        let size = self.number(&target, gimli::DW_AT_byte_size);
        match target.tag() {
            gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type => "pointer".to_owned(),
            gimli::DW_TAG_typedef
            | gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_atomic_type
            | gimli::DW_TAG_restrict_type
                if depth < DEPTH =>
            {
                self.type_of(&target, depth + 1)
            }
            gimli::DW_TAG_array_type if depth < DEPTH => {
                format!("array of {} {}", self.bounds(offset), self.type_of(&target, depth + 1))
            }
            tag => format!("{} {name} of {} bytes", tag.static_string().unwrap_or("type"), size.unwrap_or(0)),
        }
    }

    fn bounds(&self, array: gimli::UnitOffset) -> String {
        let mut words = String::new();
        let Ok(mut tree) = self.unit.entries_tree(Some(array)) else { return words };
        let Ok(root) = tree.root() else { return words };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            let count = self.number(child.entry(), gimli::DW_AT_count).or_else(|| {
                self.number(child.entry(), gimli::DW_AT_upper_bound).map(|most| most.wrapping_add(1))
            });
            words.push_str(&format!("[{}]", count.unwrap_or(0)));
        }
        words
    }

    fn text(&self, entry: &Entry<'_>, of: DwAt) -> Option<String> {
        let value = entry.attr_value(of)?;
        let text = self.dwarf.attr_string(self.unit, value).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    fn number(&self, entry: &Entry<'_>, of: DwAt) -> Option<i64> {
        let value = entry.attr_value(of)?;
        value.sdata_value().or_else(|| value.udata_value().map(u64::cast_signed))
    }
}
