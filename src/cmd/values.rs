//! Values with units, as users write them.

use hwmeter::task::Speed;
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

/// Nothing on Earth takes longer, and beyond it every client has given up.
const LONGEST_LATENCY: Duration = Duration::from_secs(60);

/// A link's delay.
pub fn latency(text: &str) -> Result<Duration, String> {
    let latency = duration(text)?;
    if latency > LONGEST_LATENCY {
        Err("expected at most 60s".to_owned())
    } else {
        Ok(latency)
    }
}

const SLOWEST_BPS: f64 = 1e3;
const FASTEST_BPS: f64 = 1e12;

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
    fn rates() {
        for (text, bps) in [("200M", 200e6), ("1.5G", 1.5e9), ("64k", 64e3), ("1000000", 1e6)] {
            assert_eq!(rate_bps(text), Ok(bps), "{text}");
        }
        for bad in ["", "M", "0", "-1M", "fast", "NaN", "inf", "10T", "1e13"] {
            assert!(rate_bps(bad).is_err(), "{bad}");
        }
    }
}
