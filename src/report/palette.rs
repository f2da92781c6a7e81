//! Colours, light and dark. Figures are drawn in the light ones; a style sheet puts the dark ones in their place where
//! a reader prefers that, so that one SVG serves both, and prints light.
//!
//! Lines and areas take the colours of Okabe and Ito, which people with any colour vision can tell apart; the dark
//! ones are the same hues, lighter.

use plotters::style::RGBColor;
use std::fmt::Write as _;

/// Titles.
pub const INK: RGBColor = RGBColor(0x1B, 0x1F, 0x24);
/// Names of axes, ticks and remarks.
pub const MUTED: RGBColor = RGBColor(0x57, 0x60, 0x6A);
/// Axes.
pub const AXIS: RGBColor = RGBColor(0x9A, 0xA3, 0xAD);
/// Lines across a figure.
pub const GRID: RGBColor = RGBColor(0xE3, 0xE6, 0xEA);
/// Blue.
pub const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
/// Vermillion.
pub const VERMILLION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
/// Bluish green.
pub const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);
/// Reddish purple.
pub const PURPLE: RGBColor = RGBColor(0xB3, 0x5C, 0x8F);
/// Orange.
pub const ORANGE: RGBColor = RGBColor(0xE6, 0x9F, 0x00);
/// Sky blue.
pub const SKY: RGBColor = RGBColor(0x3A, 0x9B, 0xD9);

/// Light and dark.
const PAIRS: [(RGBColor, RGBColor); 10] = [
    (INK, RGBColor(0xE8, 0xEA, 0xED)),
    (MUTED, RGBColor(0xA3, 0xAD, 0xB8)),
    (AXIS, RGBColor(0x6B, 0x75, 0x80)),
    (GRID, RGBColor(0x2C, 0x33, 0x3B)),
    (BLUE, RGBColor(0x4A, 0xA8, 0xE8)),
    (VERMILLION, RGBColor(0xF5, 0x8A, 0x42)),
    (GREEN, RGBColor(0x2F, 0xC9, 0x9B)),
    (PURPLE, RGBColor(0xE0, 0x92, 0xC1)),
    (ORANGE, RGBColor(0xF4, 0xBE, 0x4F)),
    (SKY, RGBColor(0x8C, 0xD0, 0xF5)),
];

/// Colours of groups of runs, in their order.
const SERIES: [RGBColor; 6] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY];

/// The colour of the `i`-th group.
pub fn series(i: usize) -> RGBColor {
    SERIES[i % SERIES.len()]
}

/// Whether the `i`-th group shares its colour with an earlier one, and is told from it by dashes.
pub fn is_dashed(i: usize) -> bool {
    i / SERIES.len() % 2 == 1
}

/// Colours of the placements: local, MEC, cloud.
pub const PLACEMENTS: [RGBColor; 3] = [GREEN, ORANGE, BLUE];

/// What the style sheet of a page or of a single figure needs.
pub fn style_sheet() -> String {
    let mut css =
        ".chart text{font-family:system-ui,sans-serif}\n@media screen and (prefers-color-scheme:dark){\n"
            .to_owned();
    for (light, dark) in PAIRS {
        let (light, dark) = (hex(light), hex(dark));
        for property in ["fill", "stroke"] {
            // Writing to a String cannot fail.
            let _ = writeln!(css, ".chart [{property}=\"{light}\"]{{{property}:{dark}}}");
        }
    }
    css.push_str("}\n");
    css
}

/// As the drawing library writes it.
fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
