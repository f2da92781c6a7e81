//! A modelled rail `radio` beside the rails of a sensor that does not see the modem, such as a Pi's CPU model.
//!
//! ```text
//! E = idle T + (sending - idle) t_sent + (receiving - idle) t_received
//! t = 8 bytes / link rate, by the interface's byte counters; at most T together
//! ```
//!
//! The total then holds a modelled part, so the whole sensor is *modelled*.

use crate::clock::{Clock, Moment};
use crate::error::{Error, Result};
use crate::net::{Interface, Traffic};
use crate::root::Root;
use crate::sensor::{Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::total::add_note;
use crate::units::{Joules, Seconds, Watts};
use std::str::FromStr;
use std::sync::Arc;

/// Relative standard uncertainty of a modem's figures: data sheets give typical values (assumed).
const RADIO_ERROR: f64 = 0.3;

/// What is known about a modem. No defaults: modems differ tenfold.
#[derive(Clone, Debug, PartialEq)]
pub struct Radio {
    /// Its network interface, such as `wlan0`.
    pub interface: String,
    /// Power while it neither sends nor receives.
    pub idle: Watts,
    /// Power while it sends.
    pub sending: Watts,
    /// Power while it receives.
    pub receiving: Watts,
    /// Bits per second on the air while it sends.
    pub send_bps: f64,
    /// Bits per second on the air while it receives.
    pub receive_bps: f64,
}

/// Taken for the rate on the air where the text does not tell it: a middling Wi-Fi link (assumed).
const USUAL_MBPS: f64 = 50.0;

/// `IFACE:idle=W,send=W,receive=W`, in watts, and where known the rates on the air `send-mbps=R,receive-mbps=R` in
/// megabits per second (50 otherwise).
impl FromStr for Radio {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |why: String| Error::unsupported(format!("the radio {text:?}"), format!("{why}; {USAGE}"));
        let (interface, figures) = text
            .rsplit_once(':')
            .filter(|(interface, _)| !interface.is_empty())
            .ok_or_else(|| wrong("an interface and a colon are due".to_owned()))?;
        let mut found = [None; KEYS.len()];
        for figure in figures.split(',') {
            let (key, value) = parse_figure(figure).map_err(wrong)?;
            if found[key].replace(value).is_some() {
                return Err(wrong(format!("{} stands there twice", KEYS[key])));
            }
        }
        let watts = |key: usize| {
            let value = found[key].ok_or_else(|| wrong(format!("{}= is missing", KEYS[key])))?;
            Ok(Watts(value))
        };
        let bps = |key: usize| found[key].unwrap_or(USUAL_MBPS) * 1e6;
        Ok(Self {
            interface: interface.to_owned(),
            idle: watts(0)?,
            sending: watts(1)?,
            receiving: watts(2)?,
            send_bps: bps(3),
            receive_bps: bps(4),
        })
    }
}

const KEYS: [&str; 5] = ["idle", "send", "receive", "send-mbps", "receive-mbps"];
const USAGE: &str = "write for example wlan0:idle=0.3,send=1.5,receive=0.9 (watts; rates on the air may follow as send-mbps=20,receive-mbps=50)";

/// Which of [`KEYS`], and its value.
fn parse_figure(figure: &str) -> std::result::Result<(usize, f64), String> {
    let (name, number) = figure
        .split_once('=')
        .ok_or_else(|| format!("{figure:?} has no ="))?;
    let key = KEYS
        .iter()
        .position(|key| *key == name.trim())
        .ok_or_else(|| format!("{name:?} is not one of {}", KEYS.join(", ")))?;
    let is_rate = key >= 3;
    let value = number.trim().parse::<f64>().ok();
    match value.filter(|v| v.is_finite() && *v >= 0.0 && !(is_rate && *v == 0.0)) {
        Some(value) => Ok((key, value)),
        None if is_rate => Err(format!("{name}={number} is no rate above 0")),
        None => Err(format!("{name}={number} is no power of 0 W or more")),
    }
}

/// A sensor and the radio it does not see.
pub struct WithRadio<S> {
    sensor: S,
    radio: Radio,
    interface: Interface,
    clock: Arc<dyn Clock>,
    last: Option<(Moment, Traffic)>,
    energy: Joules,
    info: SensorInfo,
}

impl<S: Sensor> WithRadio<S> {
    /// Adds the rail `radio` to the rails and to the total. An error if the interface is not there, or a figure of the
    /// modem makes no sense.
    pub fn new(sensor: S, radio: Radio, root: &Root, clock: Arc<dyn Clock>) -> Result<Self> {
        let are_rates = [radio.send_bps, radio.receive_bps]
            .iter()
            .all(|bps| bps.is_finite() && *bps > 0.0);
        let are_watts = [radio.idle, radio.sending, radio.receiving]
            .iter()
            .all(|w| w.0.is_finite() && w.0 >= 0.0);
        if !(are_rates && are_watts) {
            let why = "watts must not be negative, and bits per second must be above 0";
            return Err(Error::unsupported(
                format!("the radio of {}", radio.interface),
                why,
            ));
        }
        let interface = Interface::open(root, &radio.interface)?;
        let info = with_radio(sensor.info(), &radio);
        Ok(Self {
            sensor,
            radio,
            interface,
            clock,
            last: None,
            energy: Joules::ZERO,
            info,
        })
    }

    /// Energy since the first read.
    fn radio_energy(&mut self) -> Result<Joules> {
        let traffic = self.interface.read()?;
        let now = self.clock.now();
        if let Some((then, earlier)) = self.last {
            let elapsed = now - then;
            // An interface that was reset in between has counted from zero since.
            let passed = traffic.since(&earlier).unwrap_or(traffic);
            self.energy += self.radio.energy(passed, elapsed);
        }
        self.last = Some((now, traffic));
        Ok(self.energy)
    }
}

impl<S: Sensor> Sensor for WithRadio<S> {
    fn read(&mut self) -> Result<Reading> {
        let mut reading = self.sensor.read()?;
        if !reading.is_unchanged() {
            let radio = self
                .radio_energy()
                .map_or(Value::Missing, |counter| Value::Energy {
                    counter,
                    wraps_at: None,
                });
            reading.values.push(radio);
        }
        Ok(reading)
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Radio {
    /// Energy over `elapsed` in which `passed` went through.
    fn energy(&self, passed: Traffic, elapsed: Seconds) -> Joules {
        let sent = passed.sent_bytes as f64 * 8.0 / self.send_bps;
        let received = passed.received_bytes as f64 * 8.0 / self.receive_bps;
        // Counters also hold what was queued or came from other hosts at another rate: a radio is active at most always.
        let share = (elapsed.0 / (sent + received).max(f64::MIN_POSITIVE)).min(1.0);
        self.idle * elapsed
            + (self.sending - self.idle) * Seconds(sent * share)
            + (self.receiving - self.idle) * Seconds(received * share)
    }
}

fn with_radio(mut info: SensorInfo, radio: &Radio) -> SensorInfo {
    let offset = radio.idle * RADIO_ERROR;
    info.total.push(info.rails.len());
    info.rails.push(Rail::new("radio", Role::Io).with_offset(offset));
    info.kind = Kind::Modelled;
    info.idle = info.idle.map(|idle| idle + radio.idle);
    info.full = info.full.map(|full| full + radio.sending);
    add_note(
        &mut info,
        &format!(
            "with the modelled radio of {} at {:.0}/{:.0} Mbit/s on the air",
            radio.interface,
            radio.send_bps * 1e-6,
            radio.receive_bps * 1e-6
        ),
    );
    info.accuracy.source += "; radio: 30 % of its idle power assumed";
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::time::Duration;

    fn radio() -> Radio {
        Radio {
            interface: "wlan0".into(),
            idle: Watts(0.2),
            sending: Watts(1.2),
            receiving: Watts(0.7),
            send_bps: 8e6,
            receive_bps: 16e6,
        }
    }

    struct Board;
    impl Sensor for Board {
        fn read(&mut self) -> Result<Reading> {
            Ok(Reading::of_power(Watts(2.0)))
        }
    }

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        std::fs::create_dir_all(root.path("/sys/class/net/wlan0/statistics")).unwrap();
        set(&root, 0, 0);
        (dir, root)
    }

    fn set(root: &Root, received: u64, sent: u64) {
        for (file, bytes) in [("rx_bytes", received), ("tx_bytes", sent)] {
            root.write(
                format!("/sys/class/net/wlan0/statistics/{file}"),
                &bytes.to_string(),
            )
            .unwrap();
        }
    }

    fn radio_joules(reading: &Reading) -> f64 {
        match reading.values[1] {
            Value::Energy { counter, .. } => counter.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_radio_is_written_in_one_line() {
        let radio: Radio = "eth0:idle=0.5,send=2.0,receive=1.5".parse().unwrap();
        assert_eq!(
            (
                radio.interface.as_str(),
                radio.idle,
                radio.sending,
                radio.receiving
            ),
            ("eth0", Watts(0.5), Watts(2.0), Watts(1.5))
        );
        assert_eq!((radio.send_bps, radio.receive_bps), (50e6, 50e6));
        // An alias holds a colon; order and spaces are free.
        let radio: Radio = "eth0:1:receive-mbps=16, receive=0.7,send=1.2,idle=0,send-mbps=8"
            .parse()
            .unwrap();
        assert_eq!((radio.interface.as_str(), radio.idle), ("eth0:1", Watts(0.0)));
        assert_eq!((radio.send_bps, radio.receive_bps), (8e6, 16e6));
    }

    #[test]
    fn what_is_wrong_with_a_radio_is_said() {
        for (text, why) in [
            ("", "an interface and a colon"),
            ("eth0", "an interface and a colon"),
            (":idle=1,send=1,receive=1", "an interface and a colon"),
            ("eth0:", "\"\" has no ="),
            ("eth0:idle=1,send=1", "receive= is missing"),
            ("eth0:idle=1,send=1,receive=1,", "\"\" has no ="),
            ("eth0:idle=1,send=1,receive=1,idle=2", "idle stands there twice"),
            (
                "eth0:idle=1,send=1,recieve=1",
                "\"recieve\" is not one of idle, send",
            ),
            ("eth0:idle=-1,send=1,receive=1", "idle=-1 is no power"),
            ("eth0:idle=1W,send=1,receive=1", "idle=1W is no power"),
            ("eth0:idle=nan,send=1,receive=1", "idle=nan is no power"),
            ("eth0:idle=1,send=inf,receive=1", "send=inf is no power"),
            (
                "eth0:idle=1,send=1,receive=1,send-mbps=0",
                "send-mbps=0 is no rate above 0",
            ),
        ] {
            let error = text.parse::<Radio>().expect_err(text).to_string();
            assert!(error.contains(why) && error.contains("for example"), "{error}");
        }
    }

    #[test]
    fn joules_follow_the_bytes() {
        let (_dir, root) = tree();
        let clock = Arc::new(ManualClock::new());
        let mut sensor = WithRadio::new(Board, radio(), &root, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let info = sensor.info();
        assert_eq!(
            (info.kind, &info.total[..], info.rails[1].name.as_str()),
            (Kind::Modelled, &[0, 1][..], "radio")
        );
        assert_eq!(radio_joules(&sensor.read().unwrap()), 0.0);
        clock.advance(Duration::from_secs(10));
        set(&root, 2_000_000, 3_000_000); // 1 s of receiving, 3 s of sending
        let expected = 0.2 * 10.0 + 0.5 * 1.0 + 1.0 * 3.0;
        assert!((radio_joules(&sensor.read().unwrap()) - expected).abs() < 1e-9);
        // A reset counter and a counter that cannot be: never negative, never more than sending all the time.
        clock.advance(Duration::from_secs(1));
        set(&root, 0, 900_000_000);
        let total = radio_joules(&sensor.read().unwrap());
        assert!((total - expected - 1.2).abs() < 1e-9, "{total}");
    }

    #[test]
    fn an_interface_that_is_gone_loses_its_rail_alone() {
        let (_dir, root) = tree();
        let mut sensor = WithRadio::new(Board, radio(), &root, Arc::new(ManualClock::new())).unwrap();
        root.write("/sys/class/net/wlan0/statistics/rx_bytes", "")
            .unwrap();
        assert_eq!(
            sensor.read().unwrap().values[..],
            [Value::Power(Watts(2.0)), Value::Missing]
        );
        let other = Radio {
            interface: "wlan9".into(),
            ..radio()
        };
        assert!(WithRadio::new(Board, other, &root, Arc::new(ManualClock::new())).is_err());
        let wrong = Radio {
            send_bps: 0.0,
            ..radio()
        };
        assert!(WithRadio::new(Board, wrong, &root, Arc::new(ManualClock::new())).is_err());
    }
}
