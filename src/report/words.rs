//! Numbers in words, the same in figures and on the page.

/// `1.7 J ± 1.8 J`: two digits of the uncertainty, at k=2. An uncertainty that is not known is not zero.
pub fn with_uncertainty(value: f64, u: Option<f64>, unit: &str) -> String {
    match u {
        Some(u) if u > 1e-12 => {
            let expanded = 2.0 * u;
            let digits = (1.0 - expanded.log10().floor()).clamp(0.0, 9.0) as usize;
            format!("{value:.digits$} {unit} ± {expanded:.digits$} {unit}")
        }
        _ => format!("{value:.3} {unit}, uncertainty unknown"),
    }
}

/// Three digits, in the thousandth of the unit that suits: `98.5 µs`, `250 ms`, `12 J`.
pub fn in_unit(x: f64, unit: &str) -> String {
    let (factor, prefix) = match x.abs() {
        0.0 => (1.0, ""),
        x if x >= 1.0 => (1.0, ""),
        x if x >= 1e-3 => (1e3, "m"),
        x if x >= 1e-6 => (1e6, "µ"),
        _ => (1e9, "n"),
    };
    let value = x * factor;
    let digits = (2.0 - value.abs().max(1.0).log10().floor()).clamp(0.0, 2.0) as usize;
    let text = format!("{value:.digits$}");
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{short} {prefix}{unit}")
}

/// A small share: `12.02 %`, `less than 0.01 %`.
pub fn small_percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent.abs() < 0.005 {
        true => "less than 0.01 %".to_owned(),
        false => format!("{percent:.2} %"),
    }
}

/// Where a learner is trained.
pub fn site(site: &str) -> &str {
    match site {
        "local" => "on the device",
        "mec" => "on the MEC",
        "local and mec" => "on both",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_units_that_suit_them() {
        let words = [1e-5, 0.25, 1.0, 4.5e-7, 123.4, 0.001, 0.0].map(|x| in_unit(x, "s"));
        assert_eq!(
            words,
            ["10 µs", "250 ms", "1 s", "450 ns", "123 s", "1 ms", "0 s"]
        );
    }

    #[test]
    fn joules_have_two_digits_of_their_uncertainty_or_say_that_none_is_known() {
        assert_eq!(with_uncertainty(1.2044, Some(0.025), "J"), "1.204 J ± 0.050 J");
        assert_eq!(
            with_uncertainty(1.2044, None, "J"),
            "1.204 J, uncertainty unknown"
        );
    }

    #[test]
    fn what_is_small_is_not_said_to_be_nothing() {
        assert_eq!([0.1202, 1e-6].map(small_percent), ["12.02 %", "less than 0.01 %"]);
    }
}
