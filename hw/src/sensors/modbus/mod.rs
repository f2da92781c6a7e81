//! `modbus:URL`: a wall or DC meter that speaks Modbus, over TCP or a serial line.
//!
//! The protocol is that of `tokio-modbus`; registers are described in [`meters`], the URL in [`url`]. A read takes at
//! most the timeout of the URL, whatever the meter does: a link that fails is closed, and opened again after 0.5 s,
//! doubling to 10 s. In between, samples are lost at once instead of waiting.

pub mod codec;
mod link;
pub mod meters;
mod query;
mod retry;
pub mod url;

use super::Context;
use crate::clock::{Clock, Moment};
use crate::error::{Error, Result};
use crate::sensor::{Accuracy, Kind, Rail, Reading, Role, Sensor, SensorInfo, Value};
use crate::units::{Seconds, Watts};
use codec::Request;
use link::{Answers, Failure, Link};
use meters::Field;
use retry::Retry;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Handle, Runtime};
use url::Config;

/// A Modbus meter.
pub struct Modbus {
    id: String,
    config: Config,
    requests: Vec<Request>,
    clock: Arc<dyn Clock>,
    /// There until dropped.
    runtime: Option<Runtime>,
    link: Link,
    retry: Retry,
    asked_at: Option<Moment>,
}

impl Modbus {
    /// The meter of a URL (without `modbus:`). Nothing is connected before the first read.
    pub fn open(context: &Context, url: &str) -> Result<Self> {
        let config: Config = url.parse()?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::os("starting the Modbus client", e))?;
        Ok(Self {
            id: format!("modbus:{url}"),
            requests: codec::requests(&config.fields, config.meter.format.number, config.meter.block),
            clock: Arc::clone(&context.clock),
            runtime: Some(runtime),
            link: Link::new(&context.root, &config),
            retry: Retry::default(),
            asked_at: None,
            config,
        })
    }

    /// The answers to all requests, within the timeout.
    fn ask(&mut self) -> std::result::Result<Answers, Failure> {
        let Some(runtime) = &self.runtime else {
            return Err(Failure::Refused(Error::unsupported(
                &self.id,
                "it has been closed",
            )));
        };
        let exchange = self.link.exchange(&self.requests);
        if Handle::try_current().is_err() {
            return runtime.block_on(exchange);
        }
        // A thread that drives one runtime may not drive another, and whoever starts a meter may be asynchronous.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| runtime.block_on(exchange));
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn value(&self, answers: &Answers, field: &Field) -> Result<Value> {
        let meter = &self.config.meter;
        let malformed =
            |found: &str, expected| Error::malformed(Path::new(&self.id), found.as_bytes(), expected);
        let words = self
            .requests
            .iter()
            .zip(answers)
            .find_map(|(&request, answer)| codec::cut(request, answer, field, meter.format.number));
        match words.and_then(|words| codec::watts(words, meter.format)) {
            Some(watts) if codec::is_plausible(watts, meter.max_w) => Ok(Value::Power(Watts(watts))),
            Some(watts) => Err(malformed(
                &format!("{watts} W in register {}", field.register),
                "a power within the meter's range (max=WATTS sets it)",
            )),
            None => Err(malformed("too few registers", "all registers asked for")),
        }
    }

    /// The shortest time between two requests: half an update period, less the jitter of a sampler's ticks.
    /// Meters give nothing new in between, and some of them do not survive it.
    fn shortest_gap(&self) -> Seconds {
        Seconds(0.45 * self.config.meter.update_s)
    }
}

impl Sensor for Modbus {
    fn read(&mut self) -> Result<Reading> {
        let now = self.clock.now();
        if self
            .asked_at
            .is_some_and(|asked| now - asked < self.shortest_gap())
        {
            return Ok(Reading::unchanged());
        }
        self.retry.check(&self.id, now)?;
        self.asked_at = Some(now);
        let answers = match self.ask() {
            Ok(answers) => answers,
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Broken(error) | Failure::Confused(error)) => {
                self.retry.failed(self.clock.now(), &error);
                return Err(error);
            }
        };
        self.retry.succeeded();
        self.config
            .fields
            .iter()
            .map(|field| self.value(&answers, field))
            .collect()
    }

    fn info(&self) -> SensorInfo {
        let meter = &self.config.meter;
        let rail = |field: &Field| {
            let role = if field.rail == "total" {
                Role::Total
            } else {
                Role::Other
            };
            Rail::new(field.rail, role).with_power_step(Watts(meter.step_w))
        };
        let rails = self.config.fields.iter().map(rail).collect();
        SensorInfo {
            accuracy: Accuracy {
                // The class bounds the error; anything within the bounds is taken as equally likely.
                gain: meter.class / 100.0 / 3f64.sqrt(),
                update_period: Some(Seconds(meter.update_s)),
                source: format!(
                    "{}: {} % of the reading (accuracy class; class= overrides), update period of {} s and no smoothing \
                     assumed",
                    meter.name, meter.class, meter.update_s
                ),
                ..Accuracy::default()
            },
            note: Some(
                "measures all that is plugged in behind it, power supply losses included; an accuracy class holds \
                 from a few percent of the meter's rated current upward"
                    .to_owned(),
            ),
            ..SensorInfo::new(&*self.id, Kind::Measured, rails)
        }
    }
}

impl Drop for Modbus {
    fn drop(&mut self) {
        // A name look-up that hangs must not hold up the program's end.
        if let Some(runtime) = self.runtime.take() {
            self.link.close();
            runtime.shutdown_background();
        }
    }
}
