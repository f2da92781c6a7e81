//! One file per subcommand: wiring only.

pub mod calibrate;
pub mod frequencies;
pub mod integrate;
pub mod link;
pub mod measure;
pub mod probe;
pub mod run_agent;
pub mod serve;
pub mod setup;
mod stop_signal;
pub mod values;

use anyhow::Context as _;
use hwmeter_hw::Root;
use hwmeter_hw::clock::MonotonicClock;
use hwmeter_hw::discover::{self, Found, Status};
use hwmeter_hw::sensor::Sensor;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::sensors::radio::{Radio, WithRadio};
use hwmeter_hw::total::WithTotal;
use std::sync::Arc;

/// What sensors need: the root given on the command line, real time, the board.
pub fn context(root: &Root) -> Context {
    Context::new(root.clone(), Arc::new(MonotonicClock))
}

/// The same sensor with these rails as its total, if any are given.
pub fn with_total(sensor: Box<dyn Sensor>, total: &[String]) -> anyhow::Result<Box<dyn Sensor>> {
    if total.is_empty() {
        return Ok(sensor);
    }
    let names: Vec<&str> = total.iter().map(String::as_str).collect();
    Ok(Box::new(WithTotal::new(sensor, &names)?))
}

/// The same sensor with a modem's modelled power on top, if one is given.
pub fn with_radio(
    sensor: Box<dyn Sensor>,
    radio: Option<&Radio>,
    context: &Context,
) -> anyhow::Result<Box<dyn Sensor>> {
    let Some(radio) = radio else { return Ok(sensor) };
    let sensor = WithRadio::new(sensor, radio.clone(), &context.root, Arc::clone(&context.clock))
        .context("cannot add the radio")?;
    Ok(Box::new(sensor))
}

/// Opens the sensor named, or the best one found.
pub fn open_sensor(context: &Context, name: Option<&str>) -> anyhow::Result<Box<dyn Sensor>> {
    if let Some(name) = name {
        return discover::open(context, name).with_context(|| format!("cannot use sensor {name}"));
    }
    let found = discover::discover(context);
    match discover::default_sensor(&found) {
        Some(info) => {
            discover::open(context, &info.id).with_context(|| format!("cannot use sensor {}", info.id))
        }
        None => anyhow::bail!("no usable sensor on this machine. {}", unusable(&found)),
    }
}

fn unusable(found: &[Found]) -> String {
    let reasons: Vec<String> = found
        .iter()
        .filter_map(|found| match &found.status {
            Status::Ok(_) => None,
            Status::Unusable { reason, hint, .. } => Some(format!("{}: {reason}. Try: {hint}", found.name)),
        })
        .collect();
    if reasons.is_empty() {
        "`hwmeter probe` shows what was looked for".to_owned()
    } else {
        reasons.join("; ")
    }
}
