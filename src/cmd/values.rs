//! Values with units, as users write them.

use clap::ValueEnum as _;
use hwmeter::offload::link::conditions::{Change, FASTEST_BPS, JitterShape, LONGEST_LATENCY_S, SLOWEST_BPS};
use hwmeter::offload::link::profile::Outage;
use hwmeter::task::{Content, InvalidContent, Speed};
use hwmeter_hw::meter::MAX_RATE_HZ;
use std::time::Duration;

/// A duration such as `5ms`, `0.2s`, `250us`, `2min`; a bare number is in seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 6] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("min", 60.0),
        ("s", 1.0),
    ];
    let expected = "expected a number and its unit, such as 5ms or 0.2s";
    let (number, unit) = UNITS
        .iter()
        .find_map(|&(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .unwrap_or((text, 1.0));
    let number: f64 = number.trim().parse().map_err(|_| expected)?;
    Duration::try_from_secs_f64(number * unit)
        .map_err(|_| "a duration cannot be negative or infinite".to_owned())
}

/// What one task may take: more than nothing, at most a day.
pub fn task_limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    if limit.is_zero() || limit > Duration::from_secs(86_400) {
        return Err("a task's limit must lie above 0 and at most a day".to_owned());
    }
    Ok(limit)
}

/// A rate in bits per second such as `200M`, `1.5G`, `64k` or `1000000`.
pub fn rate_bps(text: &str) -> Result<f64, String> {
    const UNITS: [(char, f64); 4] = [('k', 1e3), ('K', 1e3), ('M', 1e6), ('G', 1e9)];
    let with_unit = UNITS
        .iter()
        .find_map(|&(unit, bps)| Some((text.strip_suffix(unit)?, bps)));
    let (number, unit) = with_unit.unwrap_or((text, 1.0));
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "expected bits per second, such as 200M or 1.5G".to_owned())?;
    let bps = number * unit;
    if (SLOWEST_BPS..=FASTEST_BPS).contains(&bps) {
        Ok(bps)
    } else {
        Err("a rate must lie between 1k and 1000G bits per second".to_owned())
    }
}

/// A sampling rate in hertz.
pub fn hertz(text: &str) -> Result<f64, String> {
    let rate: f64 = text
        .trim()
        .parse()
        .map_err(|_| "expected samples per second, such as 100".to_owned())?;
    if rate > 0.0 && rate <= MAX_RATE_HZ {
        Ok(rate)
    } else {
        Err(format!(
            "a sampling rate must lie above 0 and at most {MAX_RATE_HZ} Hz"
        ))
    }
}

/// A finite number.
pub fn number(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    number
        .filter(|x| x.is_finite())
        .ok_or_else(|| "expected a finite number".to_owned())
}

/// A finite number above zero.
pub fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| "expected a number".to_owned())?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("expected a number above 0".to_owned())
    }
}

/// Two numbers such as `0.5..2`.
pub fn range(text: &str) -> Result<(f64, f64), String> {
    let (min, max) = text.split_once("..").ok_or("expected MIN..MAX, such as 0.5..2")?;
    Ok((number(min)?, number(max)?))
}

/// Two whole numbers such as `1000..2000`.
pub fn whole_range(text: &str) -> Result<(u64, u64), String> {
    let (min, max) = text
        .split_once("..")
        .ok_or("expected MIN..MAX, such as 1000..2000")?;
    let whole = |text: &str| {
        text.trim()
            .parse()
            .map_err(|_| format!("{text:?} is no whole number"))
    };
    Ok((whole(min)?, whole(max)?))
}

/// A share from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text
        .trim()
        .parse()
        .map_err(|_| "expected a share from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err("expected a share from 0 to 1".to_owned())
    }
}

/// A share of the machine's speed, more than 0 to 1.
pub fn speed(text: &str) -> Result<Speed, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// A share from 0 to 1, such as `0.01` or `1%`.
pub fn share_or_percent(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent, 0.01),
        None => (text, 1.0),
    };
    let value = number.trim().parse::<f64>().ok().map(|number| number * unit);
    value
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a share such as 0.01 or 1%".to_owned())
}

/// A link's delay.
pub fn latency(text: &str) -> Result<Duration, String> {
    let latency = duration(text)?;
    if latency.as_secs_f64() > LONGEST_LATENCY_S {
        Err(format!("expected at most {LONGEST_LATENCY_S}s"))
    } else {
        Ok(latency)
    }
}

/// What a task computes. The file of a module needs no `wasm:` before it.
pub fn content(text: &str) -> Result<Content, InvalidContent> {
    if text.ends_with(".wasm") && !text.starts_with("wasm:") {
        format!("wasm:{text}").parse()
    } else {
        text.parse()
    }
}

/// What is set for one way of a link, such as `rate=10M,latency=20ms`.
pub fn link_change(text: &str) -> Result<Change, String> {
    let mut change = Change::default();
    for pair in text.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("{pair:?} is not KEY=VALUE, such as rate=10M"))?;
        let of_key = |why: String| format!("{key}: {why}");
        match key.trim() {
            "latency" => change.latency_s = Some(latency(value).map_err(of_key)?.as_secs_f64()),
            "jitter" => change.jitter_s = Some(latency(value).map_err(of_key)?.as_secs_f64()),
            "jitter-shape" => {
                change.jitter_shape = Some(JitterShape::from_str(value, false).map_err(of_key)?)
            }
            "rate" => change.rate_bps = Some(rate_bps(value).map_err(of_key)?),
            "loss" => change.loss = Some(share_or_percent(value).map_err(of_key)?),
            "loss-burst" => change.loss_burst = Some(number(value).map_err(of_key)?),
            _ => {
                return Err(format!(
                    "there is no {key:?}; there are latency, jitter, jitter-shape, rate, loss, loss-burst"
                ));
            }
        }
    }
    Ok(change)
}

/// An outage such as `10s+2s`: when it begins, and how long it lasts.
pub fn outage(text: &str) -> Result<Outage, String> {
    let expected = "expected when it begins and how long it lasts, such as 10s+2s";
    let (begin, length) = text.split_once('+').ok_or(expected)?;
    Ok(Outage {
        t_s: duration(begin)?.as_secs_f64(),
        for_s: duration(length)?.as_secs_f64(),
        reset: false,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("5ms", 5_000_000),
            ("0.2s", 200_000_000),
            ("250us", 250_000),
            ("1 min", 60_000_000_000),
            ("0", 0),
            ("1.5", 1_500_000_000),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for bad in ["", "ms", "-5ms", "5 parsecs", "infs", "NaNs", "1e30s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links() {
        let change = link_change("rate=10M,latency=20ms,loss=1%,jitter-shape=pareto").unwrap();
        let expected = Change {
            rate_bps: Some(10e6),
            latency_s: Some(0.020),
            loss: Some(0.01),
            jitter_shape: Some(JitterShape::Pareto),
            ..Change::default()
        };
        assert_eq!(change, expected);
        for bad in [
            "",
            "rate",
            "speed=1",
            "rate=fast",
            "loss=2",
            "latency=90s",
            "rate=1M,,",
        ] {
            assert!(link_change(bad).is_err(), "{bad}");
        }
        let expected = Outage {
            t_s: 10.0,
            for_s: 2.0,
            reset: false,
        };
        assert_eq!(outage("10s+2s"), Ok(expected));
        assert!(outage("10s").is_err() && outage("10s+-1s").is_err());
        assert_eq!(share_or_percent("2.5%"), Ok(0.025));
        assert!(share_or_percent("200%").is_err() && share_or_percent("%").is_err());
    }

    #[test]
    fn rates() {
        for (text, bps) in [("200M", 200e6), ("1.5G", 1.5e9), ("64k", 64e3), ("1000000", 1e6)] {
            assert_eq!(rate_bps(text), Ok(bps), "{text}");
        }
        for bad in ["", "M", "0", "-1M", "fast", "NaN", "inf", "10T", "1e13"] {
            assert!(rate_bps(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(range("0.5..2"), Ok((0.5, 2.0)));
        assert_eq!(whole_range("3..7"), Ok((3, 7)));
        for bad in ["", "1", "1..", "..2", "a..b", "1..NaN"] {
            assert!(range(bad).is_err() && whole_range(bad).is_err(), "{bad}");
        }
        assert!(whole_range("-1..2").is_err());
    }
}
