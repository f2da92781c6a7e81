//! One line of a trace: its cells, quoted or not, and the numbers in them.

use super::{Layout, ONLY_RAIL, Row};
use crate::units::{Joules, Seconds, Watts};
use std::borrow::Cow;

/// One line without its end; the error says what is wrong with it.
pub(super) fn parse(layout: Layout, line: u64, bytes: &[u8]) -> Result<Row<'_>, String> {
    let not_a_row = || format!("found {}, expected {}", shown(bytes), layout.header());
    let text = std::str::from_utf8(bytes).map_err(|_| not_a_row())?;
    let cells = cells(text).ok_or_else(not_a_row)?;
    let number = |cell: &str, column: &str| {
        let finite = |x: &f64| x.is_finite();
        let number = cell.parse().ok().filter(finite);
        number.ok_or_else(|| format!("{column} is {}, expected a number", shown(cell.as_bytes())))
    };
    let optional = |cell: &str, column: &str| match cell {
        "" => Ok(None),
        cell => number(cell, column).map(Some),
    };
    let row = |t: &str, sensor, rail, power: &str, energy: &str| {
        Ok(Row {
            line,
            t: Seconds(number(t, "t_s")?),
            sensor,
            rail,
            power: optional(power, "power_w")?.map(Watts),
            energy: optional(energy, "energy_j")?.map(Joules),
        })
    };
    match (layout, cells) {
        (Layout::Power, Cells([t, power, ..], 2)) => row(&t, None, ONLY_RAIL.into(), &power, ""),
        (Layout::Energy, Cells([t, sensor, rail, power, energy], 5)) => {
            row(&t, Some(sensor), rail, &power, &energy)
        }
        _ => Err(not_a_row()),
    }
}

/// The cells of a line, and how many there are.
struct Cells<'a>([Cow<'a, str>; 5], usize);

/// Splits a line; `None` if it has more cells than any trace, or its quotes do not match.
fn cells(text: &str) -> Option<Cells<'_>> {
    let mut cells = Cells(Default::default(), 0);
    let mut rest = Some(text);
    while let Some(text) = rest {
        let cell;
        (cell, rest) = match text.strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted)?,
            None => match text.split_once(',') {
                Some((cell, rest)) => (cell.into(), Some(rest)),
                None => (text.into(), None),
            },
        };
        *cells.0.get_mut(cells.1)? = cell;
        cells.1 += 1;
    }
    Some(cells)
}

/// A cell from behind its opening quote, and what follows its comma.
fn quoted_cell(text: &str) -> Option<(Cow<'_, str>, Option<&str>)> {
    let mut from = 0;
    loop {
        let quote = from + text.get(from..)?.find('"')?;
        let (cell, after) = (&text[..quote], &text[quote + 1..]);
        if after.starts_with('"') {
            from = quote + 2; // a doubled quote stands for one
            continue;
        }
        let rest = match after.strip_prefix(',') {
            Some(rest) => Some(rest),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some((cell.replace("\"\"", "\"").into(), rest));
    }
}

/// What was found, in quotes and cut to a readable length.
pub(super) fn shown(bytes: &[u8]) -> String {
    const LENGTH: usize = 60;
    let dots = if bytes.len() > LENGTH { "…" } else { "" };
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LENGTH)]);
    format!("{text:?}{dots}")
}
