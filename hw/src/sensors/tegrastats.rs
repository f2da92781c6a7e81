//! `tegrastats`: NVIDIA's own program, for Jetsons whose INA3221 nodes we may not read.
//!
//! We start it (`tegrastats --interval MS`), read its lines ([`super::tegrastats_parse`]) and end it; one that dies is
//! started again, and the samples in between are lost. Each line is stamped with the monotonic clock as it arrives:
//! the time in the line itself has a resolution of a second and follows the wall clock.
//!
//! Only the current value of a rail is used. What stands behind the slash is a mean since tegrastats began.

use super::child::LineChild;
use super::ina3221::with_usual_steps;
use super::ina3221_hwmon::slowest_timing;
use super::program::find_program;
use super::tegrastats_parse::rails;
use super::{Context, Driver};
use crate::board::BoardKind;
use crate::clock::{Clock, Moment};
use crate::error::{Error, Result};
use crate::rails::{role_of, total_rails};
use crate::root::Root;
use crate::sensor::{Accuracy, Kind, Rail, Reading, Sensor, SensorInfo, Value};
use crate::units::{Seconds, Watts};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How it is found.
pub const DRIVER: Driver = Driver {
    name: "tegrastats",
    kind: Kind::Measured,
    open: |context, instance| {
        Ok(Tegrastats::open(context, instance)?.map(|sensor| Box::new(sensor) as Box<dyn Sensor>))
    },
    expected: |context| context.board.kind.is_jetson(),
    place: "tegrastats in PATH",
    hint: |_, error| match error {
        Some(_) => {
            "sudo tegrastats  # where it shows rails such as VDD_IN for root only, run hwmeter with sudo too"
                .to_owned()
        }
        None => "sudo apt install nvidia-l4t-tools  # NVIDIA's package with tegrastats".to_owned(),
    },
};

/// Time between two lines unless the instance names another (`tegrastats:1000`, in milliseconds). No shortest
/// interval is documented.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long the first line may take: tegrastats starts slowly on small boards.
const FIRST_LINE: Duration = Duration::from_secs(5);
/// Silence for this many intervals is a failure.
const SILENT_INTERVALS: f64 = 5.0;

/// A running tegrastats.
pub struct Tegrastats {
    child: LineChild,
    program: PathBuf,
    latest: Arc<Latest>,
    last_read: Option<Moment>,
    interval: Seconds,
    clock: Arc<dyn Clock>,
    info: SensorInfo,
}

/// The last line that named rails.
#[derive(Default)]
struct Latest {
    line: Mutex<Option<Line>>,
    arrived: Condvar,
}

struct Line {
    at: Moment,
    rails: Vec<(String, f64)>,
}

impl Tegrastats {
    /// Starts the `tegrastats` found in `PATH`; the instance is the interval in milliseconds.
    pub fn open(context: &Context, instance: Option<&str>) -> Result<Option<Self>> {
        let wrong = |text: &str| {
            let why = "the interval is a number of milliseconds above 0, such as tegrastats:500";
            Error::unsupported(format!("sensor tegrastats:{text}"), why)
        };
        let interval = match instance {
            Some(text) => {
                let milliseconds = text.parse().ok().filter(|&ms: &u64| ms > 0 && ms <= 3_600_000);
                Duration::from_millis(milliseconds.ok_or_else(|| wrong(text))?)
            }
            None => INTERVAL,
        };
        if !context.board.kind.is_jetson() {
            return Ok(None);
        }
        let Some(program) = find_program("tegrastats") else {
            return Ok(None);
        };
        let mut sensor = Self::start(&program, interval, context.board.kind, Arc::clone(&context.clock))?;
        sensor.info.accuracy = accuracy(&context.root, Seconds::from(interval));
        Ok(Some(sensor))
    }

    /// Starts `program` and waits for its first line, which tells the rails.
    pub fn start(
        program: &Path,
        interval: Duration,
        board: BoardKind,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let latest = Arc::new(Latest::default());
        let (sink, stamp) = (Arc::clone(&latest), Arc::clone(&clock));
        let on_line = Box::new(move |line: &str| sink.take(stamp.now(), line));
        let arguments = ["--interval".to_owned(), interval.as_millis().to_string()];
        let child = LineChild::start(program, &arguments, on_line)?;
        let deadline = Instant::now() + FIRST_LINE + interval;
        let names = loop {
            if let Some(names) = latest.wait(Duration::from_millis(50)) {
                break names;
            }
            let ended = child.why_ended();
            if ended.is_some() || Instant::now() >= deadline {
                let why = ended.unwrap_or_else(|| "it printed no line with power rails".to_owned());
                return Err(Error::io("read", program, io::Error::other(why)));
            }
        };
        let mut found: Vec<Rail> = Vec::new();
        for name in names {
            if found.iter().all(|rail| rail.name != name) {
                let role = role_of(&name);
                found.push(with_usual_steps(Rail::new(name, role)));
            }
        }
        let interval = Seconds::from(interval);
        let info = SensorInfo {
            total: total_rails(board, &found),
            accuracy: accuracy(&Root::default(), interval),
            ..SensorInfo::new("tegrastats", Kind::Measured, found)
        };
        Ok(Self {
            child,
            program: program.to_owned(),
            latest,
            last_read: None,
            interval,
            clock,
            info,
        })
    }

    /// The process id of tegrastats, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.pid()
    }

    fn failed(&self, why: String) -> Error {
        Error::io("read", &self.program, io::Error::other(why))
    }
}

impl Sensor for Tegrastats {
    fn read(&mut self) -> Result<Reading> {
        let line = self.latest.lock();
        let fresh = line.as_ref().filter(|line| Some(line.at) != self.last_read);
        if let Some(line) = fresh {
            self.last_read = Some(line.at);
            let value = |rail: &Rail| {
                let found = line.rails.iter().find(|(name, _)| *name == rail.name);
                found.map_or(Value::Missing, |&(_, mw)| Value::Power(Watts::from_milli(mw)))
            };
            return Ok(self
                .info
                .rails
                .iter()
                .map(value)
                .collect::<Reading>()
                .taken_at(line.at));
        }
        if let Some(why) = self.child.why_ended() {
            return Err(self.failed(why));
        }
        let silence = self
            .last_read
            .map_or(Seconds::ZERO, |last| self.clock.now() - last);
        if silence.0 > SILENT_INTERVALS * self.interval.0 {
            let why = format!(
                "it has sent nothing for {:.1} s, at an interval of {}",
                silence.0, self.interval
            );
            return Err(self.failed(why));
        }
        Ok(Reading::unchanged())
    }

    fn info(&self) -> SensorInfo {
        self.info.clone()
    }
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a line; false if it names no rail, as a line cut short or a banner.
    fn take(&self, at: Moment, line: &str) -> bool {
        let rails: Vec<(String, f64)> = rails(line).map(|(name, mw)| (name.to_owned(), mw)).collect();
        if rails.is_empty() {
            return false;
        }
        *self.lock() = Some(Line { at, rails });
        self.arrived.notify_all();
        true
    }

    /// The names in the first line, if one comes in time.
    fn wait(&self, timeout: Duration) -> Option<Vec<String>> {
        let (line, _) = self
            .arrived
            .wait_timeout_while(self.lock(), timeout, |line| line.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let line = line.as_ref()?;
        Some(line.rails.iter().map(|(name, _)| name.clone()).collect())
    }
}

/// A line's values were read up to about this long before it arrived: it takes dozens of reads to make one.
const LINE_TAKES: Seconds = Seconds(0.01);

/// What a rail's value is worth: that of the chip below, smoothed as its hwmon knobs say, where there are any.
pub fn accuracy(root: &Root, interval: Seconds) -> Accuracy {
    Accuracy {
        update_period: Some(interval),
        clock: Seconds(LINE_TAKES.0 / 3f64.sqrt()),
        ..slowest_timing(root).accuracy("read through tegrastats; offset and step as of 5 mΩ at 5 V, assumed")
    }
}
