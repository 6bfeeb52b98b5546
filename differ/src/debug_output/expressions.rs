//! Converts expressions that compute locations and values (DWARF 5, 2.5).

use gimli::constants as dw;
use gimli::read::UnitRef;
use gimli::write::{Address, ConvertUnit, Expression, Location, LocationList};
use gimli::{Operation, read};

use super::Slice;
use super::entries::Converter;
use crate::model::LinkedAddress;

impl Converter<'_> {
    /// The expression for the image; `None` if it needs the address of something that has no address there.
    pub(super) fn expression<'a>(
        &self,
        unit: &ConvertUnit<'_, Slice<'a>>,
        from: UnitRef<'_, Slice<'a>>,
        expression: read::Expression<Slice<'a>>,
    ) -> Option<Expression> {
        let mut operations = expression.operations(from.encoding());
        let (mut count, mut fields, mut target) = (0, 0, None);
        while let Some(operation) = operations.next().ok()? {
            count += 1;
            let address = match operation {
                Operation::Address { address } => {
                    fields += 1;
                    address
                }
                Operation::AddressIndex { index } => from.address(index).ok()?,
                // Offsets of thread-local variables are offsets in the block of a module, and an image is no
                // module.
                Operation::TLS | Operation::ConstantIndex { .. } => return None,
                _ => continue,
            };
            match self.placements.of(address)? {
                LinkedAddress::Image(_) => {}
                LinkedAddress::Target(at) => target = Some(at),
            }
        }
        // An address stands where no operation takes one.
        if self.object.relocated_in(expression.0) != fields {
            return None;
        }
        match target {
            Some(at) if count == 1 => Some(self.in_target(at)),
            Some(_) => None,
            None => {
                let image = |address| match self.placements.of(address)? {
                    LinkedAddress::Image(at) => Some(Address::Constant(at)),
                    LinkedAddress::Target(_) => None,
                };
                unit.convert_expression(from, expression, &image).ok()
            }
        }
    }

    /// Makes an address of the target: the control block in front of the image knows where the target was
    /// loaded.
    fn in_target(&self, at: u64) -> Expression {
        let mut expression = Expression::new();
        expression.op_addr(Address::Constant(self.bias));
        expression.op_deref();
        expression.op_constu(at);
        expression.op(dw::DW_OP_plus);
        expression
    }

    /// The entries of a list of locations that are for code in the image.
    pub(super) fn locations<'a>(
        &self,
        unit: &ConvertUnit<'_, Slice<'a>>,
        from: UnitRef<'_, Slice<'a>>,
        mut list: read::LocListIter<Slice<'a>>,
    ) -> gimli::Result<LocationList> {
        let mut locations = Vec::new();
        while let Some(entry) = list.next()? {
            for range in self.placements.code_ranges(entry.range.begin, entry.range.end) {
                if let Some(data) = self.expression(unit, from, entry.data) {
                    let begin = Address::Constant(range.image);
                    locations.push(Location::StartLength { begin, length: range.len(), data });
                }
            }
        }
        Ok(LocationList(locations))
    }
}
