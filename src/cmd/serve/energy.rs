//! By which sensor a trainer gives its updates their joules. It is opened before the sandbox and read inside it.

use crate::cli::TrainingArgs;
use crate::cmd;
use anyhow::bail;
use hwmeter::train::energy::Price;
use hwmeter_hw::Root;
use hwmeter_hw::cpu_price::CpuPrice;
use hwmeter_hw::discover;
use hwmeter_hw::sensors::Context;
use std::sync::Arc;

/// What a CPU second costs on this machine; `None` where that cannot be known and nobody asked for it.
pub fn price(args: &TrainingArgs, root: &Root) -> anyhow::Result<Option<Price>> {
    if args.no_energy {
        return Ok(None);
    }
    match find(args, root) {
        Ok(price) => Ok(Some(price)),
        Err(error) if args.sensor.is_some() => Err(error),
        Err(error) => {
            tracing::info!("the joules of updates are not known: {error:#}");
            Ok(None)
        }
    }
}

fn find(args: &TrainingArgs, root: &Root) -> anyhow::Result<Price> {
    let context = cmd::context(root);
    let id = match &args.sensor {
        Some(name) => name.clone(),
        None => default_sensor(&context)?,
    };
    let calibration = cmd::calibration(args.calibration.as_deref(), root)?;
    let sensor = cmd::open_sensor(&context, &calibration, Some(&id))?;
    let info = sensor.info();
    let Some(idle) = info.idle else {
        bail!(
            "what this machine draws when idle is not known for {}: write it down with `hwmeter calibrate --out FILE`",
            info.id
        );
    };
    tracing::info!("updates are given their joules by {}, {}", info.id, info.kind);
    let price = CpuPrice::new(sensor, idle, root, Arc::clone(&context.clock))?;
    Ok(Price::of(price))
}

/// Without the warnings for whoever measures.
fn default_sensor(context: &Context) -> anyhow::Result<String> {
    match discover::default_sensor(&discover::discover(context)) {
        Some(info) => Ok(info.id.clone()),
        None => bail!("no usable sensor on this machine; `hwmeter probe` says why"),
    }
}
