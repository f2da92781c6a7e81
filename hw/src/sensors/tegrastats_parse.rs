//! One line of NVIDIA's `tegrastats`, L4T 28 to R39: bytes to values, nothing else.
//!
//! ```text
//! line   = [date] token *(SP+ token)                the order of tokens is not fixed
//! date   = MM-DD-YYYY SP HH:MM:SS
//! token  = memory / cpu / mts / temperature / rail / engine / anything else (one word is skipped)
//! memory = ("RAM"|"SWAP"|"IRAM") SP u "/" u unit "B" [SP] "(" words ")"
//! cpu    = "CPU [" core *("," core) "]" ["@" u]      core = "off" | u"%" ["@" u]
//! mts    = "MTS fg" SP u"%" SP "bg" SP u"%"
//! temp   = name "@" number "C" ["/" number "C"]      -256C: not powered
//! rail   = name SP u ["mW"] "/" u ["mW"] ["/" u ["mW"]]   now / mean since start / highest, mW
//! engine = name SP+ ("off" | u | u"%" | "@"u | u"%@"u | [u"%"] "@[" u *("," u) "]")
//! ```
//!
//! Sources: NVIDIA's TegrastatsUtility pages for L4T 32 and R38, and lines published by users.
//! Only the first value of a rail is power now; the others are a mean since tegrastats began, and a maximum.

/// One thing a line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// A supply and its power now, in milliwatts.
    Rail {
        /// The name, which may repeat (`NC`).
        name: &'a str,
        /// Power now.
        milliwatts: f64,
    },
    /// A thermal zone in degrees Celsius; `None` where it is not powered.
    Temperature {
        /// The zone.
        name: &'a str,
        /// Its temperature.
        celsius: Option<f64>,
    },
    /// Load of the GPU in percent, from `GR3D_FREQ`.
    Gpu {
        /// 0 to 100.
        percent: f64,
    },
    /// Something else that was understood and carries nothing a meter needs.
    Other(&'a str),
    /// A word nobody has told us about.
    Unknown(&'a str),
}

/// The tokens of a line, in order. Never fails: a word that fits nothing is [`Token::Unknown`].
pub fn tokens(line: &str) -> impl Iterator<Item = Token<'_>> {
    let mut words = Words { rest: line };
    std::iter::from_fn(move || words.next_token())
}

/// The rails of a line.
pub fn rails(line: &str) -> impl Iterator<Item = (&str, f64)> {
    tokens(line).filter_map(|token| match token {
        Token::Rail { name, milliwatts } if name != "NC" => Some((name, milliwatts)),
        _ => None,
    })
}

/// What is left of a line.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn peek(&self) -> &'a str {
        self.rest.split_whitespace().next().unwrap_or_default()
    }

    /// Skips up to and including the word with `end` in it; a line cut before that is skipped whole.
    fn skip_past(&mut self, end: char) {
        let after = self.rest.split_once(end).map_or("", |(_, rest)| rest);
        // What is glued to it, such as the clock of `CPU [..]@2601`, belongs to it and begins no word.
        self.rest = after
            .find(char::is_whitespace)
            .map_or("", |space| &after[space..]);
    }

    fn next_token(&mut self) -> Option<Token<'a>> {
        let word = self.next()?;
        let next = self.peek();
        // Memory before rails: `RAM 534/3964MB` would pass for one.
        if matches!(word, "RAM" | "SWAP" | "IRAM") && next.contains('/') {
            let amounts = self.next().unwrap_or_default();
            let is_open = amounts.contains('(') || self.peek().starts_with('(');
            if is_open && !amounts.contains(')') {
                self.skip_past(')');
            }
            return Some(Token::Other(word));
        }
        if word == "CPU" && next.starts_with('[') {
            self.skip_past(']');
            return Some(Token::Other(word));
        }
        if word == "MTS" && next == "fg" {
            for _ in 0..4 {
                self.next(); // "fg", its percentage, "bg", its percentage
            }
            return Some(Token::Other(word));
        }
        if let Some(celsius) = temperature(word) {
            let name = word.split('@').next().unwrap_or_default();
            return Some(Token::Temperature { name, celsius });
        }
        if is_name(word) {
            if let Some(milliwatts) = rail_value(next) {
                self.next();
                return Some(Token::Rail {
                    name: word,
                    milliwatts,
                });
            }
            if is_engine_value(next) {
                self.next();
                let percent = next
                    .split('%')
                    .next()
                    .and_then(digits)
                    .filter(|_| next.contains('%'));
                return Some(match percent {
                    Some(percent) if word == "GR3D_FREQ" => Token::Gpu { percent },
                    _ => Token::Other(word),
                });
            }
        }
        let is_date_or_time = word.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b':');
        Some(if is_date_or_time {
            Token::Other(word)
        } else {
            Token::Unknown(word)
        })
    }
}

fn is_name(word: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    word.bytes().all(is_part) && word.bytes().any(|b| b.is_ascii_alphabetic())
}

/// A run of digits and nothing else. `parse` alone would take signs, exponents, `inf` and `nan` too.
fn digits(text: &str) -> Option<f64> {
    let is_number = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// `2247/2189`, `5299mW/5299mW`, `4385mW/3787mW/4385mW`: the first number.
fn rail_value(text: &str) -> Option<f64> {
    let mut values = text
        .split('/')
        .map(|value| digits(value.strip_suffix("mW").unwrap_or(value)));
    let now = values.next()??;
    let rest: Vec<f64> = values.collect::<Option<_>>()?;
    matches!(rest.len(), 1 | 2).then_some(now)
}

/// `CPU@42.5C`, `cpu@51.9C/51.9C`: `Some(None)` for a zone without power. `None`: not a temperature.
fn temperature(word: &str) -> Option<Option<f64>> {
    let (name, value) = word.split_once('@')?;
    let now = value.split('/').next()?.strip_suffix('C')?;
    let (whole, fraction) = now.split_once('.').unwrap_or((now, "0"));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or((1.0, whole), |whole| (-1.0, whole));
    digits(fraction)?;
    let celsius = sign * format!("{}.{fraction}", digits(whole)?).parse::<f64>().ok()?;
    is_name(name).then_some((celsius > -256.0).then_some(celsius))
}

fn is_engine_value(text: &str) -> bool {
    let (load, clock) = text
        .split_once('@')
        .map_or((text, None), |(load, clock)| (load, Some(clock)));
    let is_load = |load: &str| {
        load.is_empty() && clock.is_some() || digits(load.strip_suffix('%').unwrap_or(load)).is_some()
    };
    let is_clock = |clock: &str| {
        let list = clock
            .strip_prefix('[')
            .and_then(|list| list.strip_suffix(']'))
            .unwrap_or(clock);
        list.split(',').all(|hz| digits(hz).is_some())
    };
    text == "off" || is_load(load) && clock.is_none_or(is_clock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(line: &str) -> Vec<(&str, f64)> {
        rails(line).collect()
    }

    /// Made-up lines in the form of each generation.
    #[test]
    fn rails_of_every_generation() {
        let tx1 = "RAM 900/3983MB (lfb 12x4MB) IRAM 0/252kB(lfb 252kB) CPU [3%@102,off] EMC_FREQ 7%@408 GR3D_FREQ 5%@76 APE 25 AO@40C PMIC@100C VDD_IN 2111/2222 VDD_CPU 33/44 VDD_GPU 0/1";
        assert_eq!(
            named(tx1),
            [("VDD_IN", 2111.0), ("VDD_CPU", 33.0), ("VDD_GPU", 0.0)]
        );
        let xavier = "RAM 1/2MB (lfb 1x4MB) SWAP 0/1MB (cached 0MB) CPU [2%@1190,off] MTS fg 0% bg 1% AO@37.5C GPU@-256C GPU 7/8 CPU 311/312 SOC 932/9 CV 0/0 VDDRQ 621/6 SYS5V 1482/1";
        assert_eq!(named(xavier)[..2], [("GPU", 7.0), ("CPU", 311.0)]);
        assert_eq!(named(xavier).len(), 6);
        let orin = "01-02-2025 03:04:05   RAM 1/2MB (lfb 1x2MB)  CPU [1%@729,2%@729]  EMC_FREQ 43%@2133 GR3D_FREQ 63%@[621,622] NVDEC off VIC_FREQ 729 NVDLA0_FREQ @1600 cpu@53.9C VDD_IN 12479mW/12000mW NC 1mW/1mW NC 0mW/0mW VDD_SOC 2817mW/1mW";
        assert_eq!(named(orin), [("VDD_IN", 12479.0), ("VDD_SOC", 2817.0)]);
        let r39 = "07-07-2026 15:15:27 RAM 8179/62817MB (lfb 1x4MB) CPU [0%,5%,off]@2601 GR3D_FREQ @[1574,1574,1574] tj@51.9C/52.0C VIN 43850mW/1mW/2mW FUTURE_TOKEN:x VDD_GPU 5mW/5mW/5mW SWAP 0/1MB (cached 0MB)";
        assert_eq!(named(r39), [("VIN", 43850.0), ("VDD_GPU", 5.0)]);
        for line in [tx1, xavier, orin] {
            assert!(
                !tokens(line).any(|token| matches!(token, Token::Unknown(_))),
                "{line}"
            );
        }
        assert_eq!(tokens(r39).filter(|t| matches!(t, Token::Unknown(_))).count(), 1);
    }

    #[test]
    fn loads_and_temperatures_are_told_apart() {
        let line = "GR3D_FREQ 63%@[621] cpu@51.96C/52C dla@-256C GPU@-3.5C";
        let found: Vec<Token> = tokens(line).collect();
        assert_eq!(found[0], Token::Gpu { percent: 63.0 });
        let zone = |name, celsius| Token::Temperature { name, celsius };
        assert_eq!(
            found[1..],
            [
                zone("cpu", Some(51.96)),
                zone("dla", None),
                zone("GPU", Some(-3.5))
            ]
        );
    }

    #[test]
    fn junk_values_are_no_power() {
        for junk in [
            "VDD_IN",
            "VDD_IN 12",
            "VDD_IN 1/2/3/4",
            "VDD_IN -1/2",
            "VDD_IN 1e3/2",
            "VDD_IN nan/1",
            "VDD_IN 9999999999999/1",
            "VDD_IN 1W/2W",
            "RAM 1/2MB",
            "VDD_IN 5/",
        ] {
            assert_eq!(named(junk), [], "{junk}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_text_is_read_without_panic_and_power_is_never_invented(line in "\\PC{0,200}") {
            for (name, milliwatts) in rails(&line) {
                prop_assert!(line.contains(name) && milliwatts.is_finite() && milliwatts >= 0.0);
            }
        }

        #[test]
        fn a_line_cut_anywhere_gives_a_prefix_of_its_rails_or_fewer_digits(cut in 0usize..200) {
            let line = "RAM 1/2MB (lfb 1x4MB) CPU [1%@729,off] GR3D_FREQ 3%@[6] cpu@5.5C VDD_IN 4067mW/4068mW VDD_SOC 1353mW/1mW";
            let cut = &line[..cut.min(line.len())];
            prop_assert!(named(cut).len() <= 2);
        }

        #[test]
        fn words_nobody_knows_change_nothing(word in "[A-Za-z:=#!]{1,12}", place in 0usize..4) {
            let mut words = vec!["cpu@42C", "VDD_IN 4067/1", "VDD_SOC 12/1"];
            words.insert(place.min(words.len()), &word);
            let line = words.join(" ");
            // A bare name in front of a zone or rail must not swallow it.
            prop_assert_eq!(named(&line), [("VDD_IN", 4067.0), ("VDD_SOC", 12.0)]);
        }
    }
}
