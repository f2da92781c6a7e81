//! The answer of a Raspberry Pi 5's firmware to `pmic_read_adc`: bytes to values, nothing else.
//!
//! One line per converter channel: `  3V7_WL_SW_A current(0)=0.09466522A`, `  3V7_WL_SW_V volt(8)=3.62925200V`. The
//! lines of one rail are told by their name; the numbers in brackets are channels of the converter and not in order.
//! `EXT5V_V` and `BATT_V` have a voltage only. Other boards answer `error=1 error_msg="Command not registered"`.

use crate::units::{Amps, Volts, Watts};

/// What one line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Channel<'a> {
    /// Current of a rail.
    Current(&'a str, Amps),
    /// Voltage of a rail.
    Voltage(&'a str, Volts),
}

/// The channel of a line; `None` for anything else.
pub fn channel(line: &str) -> Option<Channel<'_>> {
    let (name, rest) = line.trim().split_once(char::is_whitespace)?;
    let (quantity, rest) = rest.trim_start().split_once('(')?;
    let (number, value) = rest.split_once(")=")?;
    number.parse::<u8>().ok()?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match (quantity, is_name) {
        ("current", true) => Some(Channel::Current(
            name.strip_suffix("_A")?,
            Amps(decimal(value.strip_suffix('A')?)?),
        )),
        ("volt", true) => Some(Channel::Voltage(
            name.strip_suffix("_V")?,
            Volts(decimal(value.strip_suffix('V')?)?),
        )),
        _ => None,
    }
}

/// Digits with at most one point between them. `parse` alone would take signs, exponents, `inf` and `nan` too.
fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.')?;
    let are_digits = |part: &str| (1..=12).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (are_digits(whole) && are_digits(fraction))
        .then(|| text.parse().ok())
        .flatten()
}

/// The rails that have both a voltage and a current, in the order of their currents, and their power.
pub fn rails(text: &str) -> impl Iterator<Item = (&str, Watts)> {
    let channels = || text.lines().filter_map(channel);
    channels().filter_map(move |found| {
        let Channel::Current(name, amps) = found else {
            return None;
        };
        let volts = channels().find_map(|other| match other {
            Channel::Voltage(n, volts) if n == name => Some(volts),
            _ => None,
        })?;
        Some((name, volts * amps))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values of a published reading, sum of the twelve rails 2.2822104316 W.
    pub const RAILS: [(&str, &str, &str); 12] = [
        ("3V7_WL_SW", "0.09466522", "3.62925200"),
        ("3V3_SYS", "0.08197812", "3.31652900"),
        ("1V8_SYS", "0.15029320", "1.79877700"),
        ("DDR_VDD2", "0.00390372", "1.10146400"),
        ("DDR_VDDQ", "0.00000000", "0.60622650"),
        ("1V1_SYS", "0.20299340", "1.10402800"),
        ("0V8_SW", "0.30546610", "0.79853400"),
        ("VDD_CORE", "1.11625000", "0.74944980"),
        ("3V3_DAC", "0.00000000", "3.31043600"),
        ("3V3_ADC", "0.00018315", "3.31684600"),
        ("0V8_AON", "0.00274725", "0.79794790"),
        ("HDMI", "0.01660560", "5.10138000"),
    ];

    /// The answer with these values, as the firmware writes it.
    pub fn answer() -> String {
        let currents = RAILS
            .iter()
            .enumerate()
            .map(|(i, (name, amps, _))| format!("{name:>10}_A current({i})={amps}A\n"));
        let volts = RAILS
            .iter()
            .enumerate()
            .map(|(i, (name, _, v))| format!("{name:>10}_V volt({})={v}V\n", i + 12));
        let alone = [
            "     EXT5V_V volt(24)=5.08530000V\n",
            "      BATT_V volt(25)=0.00000000V",
        ];
        currents.chain(volts).chain(alone.map(str::to_owned)).collect()
    }

    #[test]
    fn twelve_rails_add_up_to_the_known_sum() {
        let answer = answer();
        let found: Vec<(&str, Watts)> = rails(&answer).collect();
        assert_eq!(found.len(), 12);
        assert_eq!(found[7].0, "VDD_CORE");
        let sum: f64 = found.iter().map(|(_, watts)| watts.0).sum();
        assert!((sum - 2.2822104316).abs() < 5e-10, "{sum:.12}");
    }

    #[test]
    fn a_rail_without_its_voltage_is_no_rail() {
        assert_eq!(
            rails("VDD_CORE_A current(7)=1.1A\nEXT5V_V volt(24)=5.0V").count(),
            0
        );
        for junk in [
            "error=1 error_msg=\"Command not registered\"",
            "X_A current(0)=nanA",
            "X_A current(0)=-1.0A",
            "X_A current(0)=1e3A",
            "X_A current(0)=1.0V",
            "X_V current(0)=1.0A",
            "X_A current(x)=1.0A",
            "X_A current(0)=9999999999999999.0A",
            "",
        ] {
            assert_eq!(channel(junk), None, "{junk}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_text_is_read_without_panic(text in "[\\PC\n]{0,300}") {
            for (_, watts) in rails(&text) {
                prop_assert!(watts.0.is_finite() && watts.0 >= 0.0);
            }
        }

        #[test]
        fn an_answer_cut_anywhere_never_invents_a_rail(cut in 0usize..1200) {
            let answer = answer();
            let whole: Vec<(&str, Watts)> = rails(&answer).collect();
            let text = &answer[..cut.min(answer.len())];
            for (name, watts) in rails(text) {
                // The unit ends each value, so a cut value is none.
                prop_assert!(whole.contains(&(name, watts)));
            }
        }
    }
}
