//! How results look on a terminal: tables, colour, joules with their uncertainty.

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use hwmeter_hw::sensor::Kind;
use hwmeter_hw::uncertainty::Energy;
use hwmeter_hw::units::Seconds;
use std::io::{self, Write};
use std::sync::OnceLock;

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Decides about colour once, for the standard streams.
pub fn set_color(color: Color) {
    let choice = match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Something that is fine.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something to notice.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// Something that went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// A heading.
pub const BOLD: Style = Style::new().bold();

/// `text` in a style; streams without colour drop it.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// An error and what led to it, on stderr.
pub fn print_error(error: &anyhow::Error) {
    let prefix = paint(BAD, "error:");
    anstream::eprintln!("{prefix} {error:#}");
}

/// The first failure to write to stdout.
static STDOUT_FAILURE: OnceLock<io::Error> = OnceLock::new();

/// As `println!`, but a full disk is no panic: [`stdout_failure`] tells at the end.
macro_rules! outln {
    ($($text:tt)*) => { $crate::ui::print(format_args!($($text)*)) };
}
pub(crate) use outln;

/// Writes a line to stdout.
pub fn print(line: std::fmt::Arguments<'_>) {
    let mut stdout = anstream::stdout();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        let _ = STDOUT_FAILURE.set(error);
    }
}

/// Why something that should stand on stdout does not; a reader that went away (`| head`) wanted no more.
pub fn stdout_failure() -> Option<&'static io::Error> {
    STDOUT_FAILURE
        .get()
        .filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
}

/// A table with aligned columns and no frame; an empty header is none.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.iter().map(|text| text.to_string()));
    }
    table
}

/// `1.234 J ± 0.056 J (k=2)`: the printed interval is twice the standard uncertainty.
pub fn joules(energy: &Energy) -> String {
    with_uncertainty(energy.joules.0, energy.uncertainty.0, "J")
}

/// The same for a number of any unit.
pub fn with_uncertainty(value: f64, uncertainty: f64, unit: &str) -> String {
    let expanded = 2.0 * uncertainty;
    let digits = decimals(expanded);
    let number = format!("{value:.digits$}");
    let is_zero = number.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    let number = if is_zero {
        number.trim_start_matches('-')
    } else {
        &number
    };
    format!("{number} {unit} ± {expanded:.digits$} {unit}")
}

/// A number without digits that say nothing: `100`, `0.5`, `33.3`.
pub fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.trim_end_matches(".0").to_owned()
}

/// As many decimals as leave two significant digits of the uncertainty.
pub fn decimals(uncertainty: f64) -> usize {
    // Below a nanojoule it is what rounding left of a zero.
    if uncertainty >= 1e-9 && uncertainty.is_finite() {
        (1.0 - uncertainty.log10().floor()).clamp(0.0, 9.0) as usize
    } else {
        3
    }
}

/// A duration in the unit that suits it.
pub fn seconds(s: f64) -> String {
    match s.abs() {
        x if x >= 1.0 => format!("{s:.2} s"),
        x if x >= 1e-3 => format!("{:.2} ms", s * 1e3),
        x if x >= 1e-6 => format!("{:.1} µs", s * 1e6),
        _ => format!("{:.0} ns", s * 1e9),
    }
}

/// What to say where the machine slept meanwhile; `None` where it did not.
pub fn suspended_sentence(suspended: Seconds) -> Option<String> {
    (suspended > Seconds::ZERO).then(|| {
        format!(
            "The machine was suspended for {}: neither that time nor its joules are in these figures.",
            seconds(suspended.0)
        )
    })
}

/// One plain sentence for joules that no sensor measured; `None` for measured ones.
pub fn kind_sentence(kind: Kind, sensor: &str) -> Option<String> {
    match kind {
        Kind::Measured => None,
        Kind::Modelled => Some(format!(
            "These joules are modelled ({sensor}), not measured: no power sensor was read. For measured joules use \
             a board with a power sensor, or grant access to one that `hwmeter probe` lists as not usable."
        )),
        Kind::Simulated => Some(format!(
            "These joules are simulated ({sensor}): nothing was measured."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwmeter_hw::units::Joules;

    #[test]
    fn joules_show_two_digits_of_their_uncertainty() {
        let energy = |joules, uncertainty| Energy {
            joules: Joules(joules),
            uncertainty: Joules(uncertainty),
        };
        assert_eq!(joules(&energy(1.2044, 0.025)), "1.204 J ± 0.050 J");
        assert_eq!(
            joules(&energy(1234.5, 60.0)),
            "1235 J ± 120 J".replace("1235", "1234")
        );
        assert_eq!(joules(&energy(1.0, 0.0)), "1.000 J ± 0.000 J");
        assert_eq!(joules(&energy(-0.0004, 0.012)), "0.000 J ± 0.024 J");
        assert_eq!(joules(&energy(-0.5, 0.012)), "-0.500 J ± 0.024 J");
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        assert_eq!(
            (short(100.0), short(0.5), short(33.33)),
            ("100".into(), "0.5".into(), "33.3".into())
        );
    }

    #[test]
    fn seconds_choose_their_unit() {
        assert_eq!(seconds(1.5), "1.50 s");
        assert_eq!(seconds(0.0123), "12.30 ms");
        assert_eq!(seconds(4.2e-5), "42.0 µs");
        assert_eq!(seconds(3e-8), "30 ns");
    }

    #[test]
    fn only_a_machine_that_slept_is_told_of() {
        assert_eq!(suspended_sentence(Seconds::ZERO), None);
        let said = suspended_sentence(Seconds(90.0)).unwrap_or_default();
        assert!(said.contains("90.00 s"), "{said}");
    }
}
