//! Reads the types of a unit, and the types of its variables.

use std::collections::{BTreeSet, HashMap};

use gimli::AttributeValue;

use super::entries::{Die, Dwarf, Slice, Unit, each, linkage_name, number, reference, slice, text};
use super::sections::Sections;
use super::statics::Places;
use super::types::{Field, Number, Type, TypeId, Types};
use crate::unit;

/// What the debug information of a unit tells.
#[derive(Debug, Default)]
pub(crate) struct Info {
    pub(crate) types: Types,
    /// Types of variables with static storage, also of those only declared here.
    pub(crate) variables: Vec<TypeId>,
    /// Types of variables with static storage by name. A static local has the name of its function before its
    /// own; it is left out where one function has several of that name.
    pub(crate) statics: HashMap<String, Option<TypeId>>,
    /// Types that functions with external linkage take and return. Others have such objects: other units, or
    /// the callers of a library.
    pub(crate) exchanged: Vec<TypeId>,
    /// Types of the variables and parameters of functions.
    pub(crate) automatic: Vec<TypeId>,
    /// Functions, by name.
    pub(crate) functions: HashMap<String, Function>,
}

/// The types that a function uses, and the functions that are inlined in it.
#[derive(Debug, Default)]
pub(crate) struct Function {
    /// Types of its variables, parameters and result, and of those of functions that are inlined in it.
    pub(crate) types: Vec<TypeId>,
    /// Functions that are inlined in it.
    pub(crate) inlines: BTreeSet<String>,
}

/// Between the name of a type and that of its source file, where there are several.
pub(crate) const SCOPE: char = '\0';
/// Stands between a function's name and that of a type or variable of its own.
pub(crate) const OF_FUNCTION: &str = "()::";

/// Reads the debug information; `None` when there is none, or it cannot be read.
pub(crate) fn read(unit: &unit::Unit<'_>) -> Option<Info> {
    let sections = Sections::load(unit)?;
    let dwarf = sections.dwarf();
    let mut walk = Walk {
        places: Places::new(unit)?,
        info: Info::default(),
        names: HashMap::new(),
        around: Vec::new(),
        declared: HashMap::new(),
        numbers: HashMap::new(),
        functions: vec![Function::default()],
        outlined: Vec::new(),
        numbered: HashMap::new(),
        exchanging: None,
        scope: String::new(),
    };
    let several = count(&dwarf) > 1;
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().ok()? {
        let (base, unit) = (header.offset().0, dwarf.unit(header).ok()?);
        if several {
            // Types of one name in two source files are two types.
            let name = unit.name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            walk.scope = format!("{SCOPE}{name}");
        }
        // The names come first, since an entry may refer to a name behind it.
        each(&unit, is_named, |_, die| {
            if let Some(name) = linkage_name(&dwarf, &unit, die) {
                walk.names.insert(base + die.offset().0, name);
            }
            Some(())
        })?;
        walk.around.clear();
        each(&unit, is_wanted, |depth, die| {
            while walk.around.pop_if(|f| f.depth >= depth).is_some() {}
            let part = walk.visit(&dwarf, &unit, base, die);
            walk.around.push(Frame { depth, part, offset: base + die.offset().0 });
            Some(())
        })?;
    }
    let Walk { mut info, numbers, mut functions, outlined, numbered, .. } = walk;
    for (number, origin) in outlined {
        if let Some(origin) = numbered.get(&origin).filter(|origin| **origin != number) {
            let types = functions[*origin].types.clone();
            functions[number].types.extend(types);
        }
    }
    let named = |(name, number): (&[u8], usize)| {
        let function = functions.get_mut(number).map(std::mem::take)?;
        Some((String::from_utf8_lossy(name).into_owned(), function))
    };
    info.functions = numbers.into_iter().filter_map(named).collect();
    Some(info)
}

fn is_named(tag: gimli::DwTag) -> bool {
    is_wanted(tag)
        && !matches!(
            tag,
            gimli::DW_TAG_variable
                | gimli::DW_TAG_formal_parameter
                | gimli::DW_TAG_member
                | gimli::DW_TAG_enumerator
                | gimli::DW_TAG_inlined_subroutine
                | gimli::DW_TAG_subrange_type
                | gimli::DW_TAG_pointer_type
        )
}

fn is_wanted(tag: gimli::DwTag) -> bool {
    is_derived(tag)
        || matches!(
            tag,
            gimli::DW_TAG_subprogram
                | gimli::DW_TAG_inlined_subroutine
                | gimli::DW_TAG_namespace
                | gimli::DW_TAG_structure_type
                | gimli::DW_TAG_class_type
                | gimli::DW_TAG_union_type
                | gimli::DW_TAG_enumeration_type
                | gimli::DW_TAG_member
                | gimli::DW_TAG_inheritance
                | gimli::DW_TAG_enumerator
                | gimli::DW_TAG_subrange_type
                | gimli::DW_TAG_variable
                | gimli::DW_TAG_formal_parameter
        )
}

/// Types that are derived from another type, and types of the language.
fn is_derived(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_typedef
            | gimli::DW_TAG_array_type
            | gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type
            | gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type
            | gimli::DW_TAG_atomic_type
            | gimli::DW_TAG_base_type
    )
}

/// An entry that encloses the current one.
struct Frame<'a> {
    depth: usize,
    part: Part<'a>,
    offset: TypeId,
}

/// What an enclosing entry adds to the qualified name of a type.
enum Part<'a> {
    Nothing,
    /// The entry is in a function, with the number of the outermost function.
    Function(Option<Slice<'a>>, usize),
    Scope(Option<Slice<'a>>),
}

struct Walk<'a, 'u> {
    places: Places<'u>,
    info: Info,
    names: HashMap<TypeId, Slice<'a>>,
    around: Vec<Frame<'a>>,
    /// Type of each variable's declaration, for entries that refer to it (`DW_AT_abstract_origin`).
    declared: HashMap<TypeId, TypeId>,
    /// Numbers of functions among [`Walk::functions`], by name.
    numbers: HashMap<&'a [u8], usize>,
    /// What functions use. All functions without a name have the number 0, and nobody asks for them.
    functions: Vec<Function>,
    /// Functions that another entry describes. A constructor has one description, whose name is not that of
    /// any of its forms.
    outlined: Vec<(usize, TypeId)>,
    /// Numbers of functions by their entries.
    numbered: HashMap<TypeId, usize>,
    /// The last function with external linkage.
    exchanging: Option<TypeId>,
    /// In an object that was made from several sources: what is appended to the names of types.
    scope: String,
}

/// How many units the debug information has.
fn count(dwarf: &Dwarf<'_>) -> usize {
    let mut headers = dwarf.units();
    std::iter::from_fn(|| headers.next().ok().flatten()).count()
}

impl<'a> Walk<'a, '_> {
    fn visit(&mut self, dwarf: &Dwarf<'a>, unit: &Unit<'a>, base: usize, die: &Die<'a>) -> Part<'a> {
        let offset = base + die.offset().0;
        let own_name = || slice(dwarf, unit, die, gimli::DW_AT_name);
        match die.tag() {
            gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine => {
                if die.attr_value(gimli::DW_AT_external).is_some() {
                    self.exchanging = Some(offset);
                    self.info.exchanged.extend(reference(base, die, gimli::DW_AT_type));
                }
                let name = self.name_of(base, offset, die);
                let inlined = name.filter(|_| die.tag() == gimli::DW_TAG_inlined_subroutine);
                let number = match self.outermost() {
                    Some(number) => number,
                    None => {
                        let number = self.number(name);
                        self.numbered.insert(offset, number);
                        self.outlined
                            .extend(reference(base, die, gimli::DW_AT_abstract_origin).map(|o| (number, o)));
                        number
                    }
                };
                let around = &mut self.functions[number];
                around.types.extend(reference(base, die, gimli::DW_AT_type));
                if let Some(inlined) = inlined.map(|n| n.to_string_lossy())
                    && !around.inlines.contains(&*inlined)
                {
                    around.inlines.insert(inlined.into_owned());
                }
                return Part::Function(name, number);
            }
            gimli::DW_TAG_namespace => return Part::Scope(own_name()),
            gimli::DW_TAG_structure_type
            | gimli::DW_TAG_class_type
            | gimli::DW_TAG_union_type
            | gimli::DW_TAG_enumeration_type => {
                let size = number(die, gimli::DW_AT_byte_size);
                let is_declaration = is_declaration(die);
                self.info.types.all.insert(offset, Type { size, is_declaration, ..Type::default() });
                let Some(name) = own_name() else { return Part::Nothing };
                if !is_declaration {
                    self.call(name, offset);
                }
                return Part::Scope(Some(name));
            }
            gimli::DW_TAG_member | gimli::DW_TAG_inheritance => {
                let type_id = reference(base, die, gimli::DW_AT_type);
                let is_static = die.attr_value(gimli::DW_AT_external).is_some();
                let bytes = number(die, gimli::DW_AT_data_member_location).unwrap_or(0);
                let bit_offset = number(die, gimli::DW_AT_data_bit_offset).unwrap_or(bytes.saturating_mul(8));
                let name = if die.tag() == gimli::DW_TAG_inheritance {
                    let of = type_id.and_then(|t| self.names.get(&t)).map(|n| n.to_string_lossy());
                    Some(format!("base {}", of.as_deref().unwrap_or("?")))
                } else {
                    text(dwarf, unit, die, gimli::DW_AT_name)
                };
                let bit_size = number(die, gimli::DW_AT_bit_size);
                if let Some(parent) = self.parent()
                    && !is_static
                {
                    parent.members.push(Field { name, bit_offset, bit_size, type_id });
                }
            }
            gimli::DW_TAG_enumerator => {
                let value = die
                    .attr_value(gimli::DW_AT_const_value)
                    .and_then(|v| v.sdata_value().or_else(|| v.udata_value().map(u64::cast_signed)));
                let name = text(dwarf, unit, die, gimli::DW_AT_name);
                if let (Some(parent), Some(name), Some(value)) = (self.parent(), name, value) {
                    parent.enumerators.push((name, value));
                }
            }
            gimli::DW_TAG_subrange_type => {
                let count = number(die, gimli::DW_AT_count)
                    .or_else(|| number(die, gimli::DW_AT_upper_bound).map(|n| n.wrapping_add(1)))
                    .unwrap_or(0);
                if let Some(parent) = self.parent() {
                    parent.counts.push(count);
                }
            }
            gimli::DW_TAG_variable => self.variable(base, unit, dwarf, die),
            gimli::DW_TAG_formal_parameter => {
                let type_id = reference(base, die, gimli::DW_AT_type);
                self.info.automatic.extend(type_id);
                if let Some(number) = self.outermost() {
                    self.functions[number].types.extend(type_id);
                }
                if self.exchanging.is_some() && self.exchanging == self.around.last().map(|f| f.offset) {
                    self.info.exchanged.extend(type_id);
                }
            }
            tag if is_derived(tag) => {
                let inner = reference(base, die, gimli::DW_AT_type);
                let is_pointer = matches!(
                    tag,
                    gimli::DW_TAG_pointer_type
                        | gimli::DW_TAG_reference_type
                        | gimli::DW_TAG_rvalue_reference_type
                );
                let size = number(die, gimli::DW_AT_byte_size).or(is_pointer.then_some(8));
                let is_const = tag == gimli::DW_TAG_const_type;
                let number = (tag == gimli::DW_TAG_base_type).then(|| encoding(die));
                let derived = Type { size, inner, is_const, is_pointer, number, ..Type::default() };
                self.info.types.all.insert(offset, derived);
                if tag == gimli::DW_TAG_typedef
                    && let (Some(name), Some(inner)) = (own_name(), inner)
                    && !self.names.contains_key(&inner)
                {
                    // `typedef struct { … } name;`
                    self.call(name, inner);
                }
            }
            _ => {}
        }
        Part::Nothing
    }

    fn call(&mut self, name: Slice<'a>, id: TypeId) {
        let name = self.qualified(name);
        self.info.types.labels.insert(id, name.clone());
        self.info.types.named.entry(name).or_insert(id);
    }

    /// The type that the current entry is a part of.
    fn parent(&mut self) -> Option<&mut Type> {
        self.info.types.all.get_mut(&self.around.last()?.offset)
    }

    /// The number of the function that the current entry is in, at the outermost.
    fn outermost(&self) -> Option<usize> {
        self.around.iter().find_map(|f| match f.part {
            Part::Function(_, number) => Some(number),
            _ => None,
        })
    }

    fn number(&mut self, function: Option<Slice<'a>>) -> usize {
        let Some(name) = function else { return 0 };
        *self.numbers.entry(name.slice()).or_insert_with(|| {
            self.functions.push(Function::default());
            self.functions.len() - 1
        })
    }

    fn qualified(&self, name: Slice<'a>) -> String {
        let mut out = String::new();
        for frame in &self.around {
            let (part, call, other) = match frame.part {
                Part::Nothing => continue,
                Part::Function(part, _) => (part, OF_FUNCTION, "?"),
                Part::Scope(part) => (part, "::", ""),
            };
            out.push_str(&part.map_or_else(|| other.into(), |p| p.to_string_lossy()));
            out.push_str(call);
        }
        out.push_str(&name.to_string_lossy());
        out.push_str(&self.scope);
        out
    }

    /// The name of a function, also through its abstract origin or declaration.
    fn name_of(&self, base: usize, offset: usize, die: &Die<'_>) -> Option<Slice<'a>> {
        if let Some(name) = self.names.get(&offset) {
            return Some(*name);
        }
        let origin = reference(base, die, gimli::DW_AT_abstract_origin)
            .or_else(|| reference(base, die, gimli::DW_AT_specification))?;
        self.names.get(&origin).copied()
    }

    fn variable(&mut self, base: usize, unit: &Unit<'a>, dwarf: &Dwarf<'a>, die: &Die<'a>) {
        let is_expression = matches!(die.attr_value(gimli::DW_AT_location), Some(AttributeValue::Exprloc(_)));
        let is_static = if is_expression {
            self.places.field(dwarf, unit, die).is_some()
        } else {
            die.attr_value(gimli::DW_AT_external).is_some()
        };
        let origin = || reference(base, die, gimli::DW_AT_abstract_origin);
        let declared = || self.declared.get(&origin()?).copied();
        let type_id = reference(base, die, gimli::DW_AT_type).or_else(declared);
        if let Some(type_id) = type_id {
            self.declared.insert(base + die.offset().0, type_id);
        }
        if is_static
            && let (Some(type_id), Some(name)) = (type_id, slice(dwarf, unit, die, gimli::DW_AT_name))
        {
            let name = self.qualified(name);
            // Several blocks of a function may have a variable of that name. They cannot be told apart here.
            let one = self.info.statics.entry(name).or_insert(Some(type_id));
            one.take_if(|known| *known != type_id);
        }
        let list = if is_static { &mut self.info.variables } else { &mut self.info.automatic };
        list.extend(type_id);
        if let Some(number) = self.outermost() {
            self.functions[number].types.extend(type_id);
        }
    }
}

fn encoding(die: &Die<'_>) -> Number {
    match die.attr_value(gimli::DW_AT_encoding) {
        Some(AttributeValue::Encoding(
            gimli::DW_ATE_float
            | gimli::DW_ATE_complex_float
            | gimli::DW_ATE_imaginary_float
            | gimli::DW_ATE_decimal_float,
        )) => Number::Real,
        _ => Number::Whole,
    }
}

fn is_declaration(die: &Die<'_>) -> bool {
    matches!(die.attr_value(gimli::DW_AT_declaration), Some(AttributeValue::Flag(true)))
}
