//! Tables and JSON.

use crate::manage::{Context, Error};

/// What a cell tells at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
}

impl Tone {
    fn escape(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// Prints `rows`, the first of which is the heading, in columns. On a terminal the rows fit its width: the
/// columns named in `shrink` are cut, the first of them first, and `tone` gives the colour of a cell by its
/// column and text.
pub(super) fn table<const N: usize>(
    ctx: &mut Context<'_>,
    rows: &[[String; N]],
    shrink: &[usize],
    tone: impl Fn(usize, &str) -> Tone,
) -> Result<(), Error> {
    let widths = widths(rows, ctx.terminal, shrink);
    let colored = ctx.terminal.is_some() && std::env::var_os("NO_COLOR").is_none();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let tone = if colored && number > 0 { tone(column, cell) } else { Tone::Plain };
            let end = if tone == Tone::Plain { "" } else { "\x1b[0m" };
            let space = if column == 0 { "" } else { "  " };
            line.push_str(&format!("{space}{}{:<width$}{end}", tone.escape(), cut(cell, width)));
        }
        ctx.say(line.trim_end())?;
    }
    Ok(())
}

/// Shorter than this no column gets.
const NARROW: usize = 8;

fn widths<const N: usize>(rows: &[[String; N]], room: Option<usize>, shrink: &[usize]) -> [usize; N] {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let Some(room) = room else { return widths };
    for column in shrink {
        let used =
            widths.iter().sum::<usize>() + 2 * widths.iter().filter(|w| **w > 0).count().saturating_sub(1);
        let width = &mut widths[*column];
        *width = (*width).min((*width).saturating_sub(used.saturating_sub(room)).max(NARROW));
    }
    widths
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Prints `value`.
pub(super) fn json(ctx: &mut Context<'_>, value: &serde_json::Value) -> Result<(), Error> {
    ctx.say(format_args!("{value:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_a_terminal_where_that_is_possible() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [row(["ID", "STATE", "OVERLAPS"]), row(["package/PATCH-1", "ACTIVED", &"o".repeat(40)])];
        assert_eq!(widths(&rows, None, &[2, 0]), [15, 7, 40]);
        assert_eq!(widths(&rows, Some(100), &[2, 0]), [15, 7, 40]);
        assert_eq!(widths(&rows, Some(60), &[2, 0]), [15, 7, 34]);
        assert_eq!(widths(&rows, Some(30), &[2, 0]), [11, 7, 8]);
        assert_eq!(cut("package/PATCH-1", 11), "package/PA…");
        assert_eq!(cut("ACTIVED", 7), "ACTIVED");
    }
}
