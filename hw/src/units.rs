//! Physical units as types, so that joules cannot be added to watts.
//!
//! Every conversion constant of the crate stands here and nowhere else.

use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $symbol:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0.0);

            /// The bare number, in the unit the type names.
            pub fn value(self) -> f64 {
                self.0
            }
        }
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }
        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }
        }
        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self(self.0 / divisor)
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                Self(iter.map(|x| x.0).sum())
            }
        }
        impl std::fmt::Display for $name {
            /// Honours the formatter's precision: `{:.3}` prints three decimals.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)?;
                f.write_str(concat!(" ", $symbol))
            }
        }
    };
}

unit!(
    /// Energy in joules.
    Joules,
    "J"
);
unit!(
    /// Power in watts.
    Watts,
    "W"
);
unit!(
    /// Electric potential in volts.
    Volts,
    "V"
);
unit!(
    /// Electric current in amperes; negative when it flows back into the source.
    Amps,
    "A"
);
unit!(
    /// Duration in seconds.
    Seconds,
    "s"
);

impl Watts {
    /// From milliwatts (IIO and tegrastats).
    pub fn from_milli(mw: f64) -> Self {
        Self(mw * 1e-3)
    }
    /// From microwatts (hwmon `powerN_*`, power_supply).
    pub fn from_micro(uw: f64) -> Self {
        Self(uw * 1e-6)
    }
}

impl Joules {
    /// From microjoules (powercap `energy_uj`, hwmon `energyN_input`).
    pub fn from_micro(uj: f64) -> Self {
        Self(uj * 1e-6)
    }
    /// From millijoules (NVML).
    pub fn from_milli(mj: f64) -> Self {
        Self(mj * 1e-3)
    }
    /// From watt-hours (wall meters).
    pub fn from_watt_hours(wh: f64) -> Self {
        Self(wh * 3600.0)
    }
}

impl Volts {
    /// From millivolts (hwmon `inN_input`).
    pub fn from_milli(mv: f64) -> Self {
        Self(mv * 1e-3)
    }
    /// From microvolts (power_supply, shunt voltages).
    pub fn from_micro(uv: f64) -> Self {
        Self(uv * 1e-6)
    }
}

impl Amps {
    /// From milliamperes (hwmon `currN_input`).
    pub fn from_milli(ma: f64) -> Self {
        Self(ma * 1e-3)
    }
    /// From microamperes (power_supply).
    pub fn from_micro(ua: f64) -> Self {
        Self(ua * 1e-6)
    }
}

impl Seconds {
    /// From nanoseconds (the monotonic clock, schedstat).
    pub fn from_nanos(ns: f64) -> Self {
        Self(ns * 1e-9)
    }
}

impl From<std::time::Duration> for Seconds {
    fn from(d: std::time::Duration) -> Self {
        Self(d.as_secs_f64())
    }
}

impl Mul<Amps> for Volts {
    type Output = Watts;
    fn mul(self, current: Amps) -> Watts {
        Watts(self.0 * current.0)
    }
}

impl Mul<Seconds> for Watts {
    type Output = Joules;
    fn mul(self, time: Seconds) -> Joules {
        Joules(self.0 * time.0)
    }
}

impl Div<Seconds> for Joules {
    type Output = Watts;
    fn div(self, time: Seconds) -> Watts {
        Watts(self.0 / time.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volt_times_an_ampere_for_a_second_is_a_joule() {
        let power = Volts::from_milli(5000.0) * Amps::from_milli(400.0);
        assert_eq!(power, Watts(2.0));
        assert_eq!(power * Seconds(3.0), Joules(6.0));
        assert_eq!(Joules(6.0) / Seconds(3.0), Watts(2.0));
    }

    #[test]
    fn prefixes_are_those_of_the_interfaces() {
        assert_eq!(Watts::from_milli(2247.0), Watts(2.247));
        assert_eq!(Joules::from_micro(5e5), Joules(0.5));
        assert_eq!(Joules::from_watt_hours(1.0), Joules(3600.0));
        assert_eq!(format!("{:.2}", Watts(1.234)), "1.23 W");
    }
}
