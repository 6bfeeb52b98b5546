//! Tables and JSON.

use crate::manage::{Context, Error};

/// Prints `rows`, the first of which is the heading, in columns.
pub(super) fn table<const N: usize>(ctx: &mut Context<'_>, rows: &[[String; N]]) -> Result<(), Error> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        ctx.say(line.trim_end())?;
    }
    Ok(())
}

/// Prints `value`.
pub(super) fn json(ctx: &mut Context<'_>, value: &serde_json::Value) -> Result<(), Error> {
    ctx.say(format_args!("{value:#}"))
}
