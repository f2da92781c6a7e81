//! `hwmeter load --devices N`: devices that train on the MEC.

use super::stop_signal;
use crate::cli::LoadArgs;
use crate::ui::{self, outln, table};
use anyhow::bail;
use hwmeter::learn::Settings;
use hwmeter::train::fleet::{self, FleetConfig, FleetReport};
use hwmeter::train::link::BrokerUrls;
use std::sync::atomic::Ordering;

/// Trains until the duration is over, SIGTERM or Ctrl-C, and tells what became of it.
pub fn run(args: &LoadArgs, devices: u32, broker: &BrokerUrls) -> anyhow::Result<()> {
    let mut link = args.broker.link(broker, "load")?;
    link.clean = true;
    let stop = stop_signal::flag()?;
    let config = FleetConfig {
        link,
        name: "load".to_owned(),
        devices: devices as usize,
        rate_hz: args.device_rate,
        learner: args.learner,
        settings: Settings::default(),
        codec: args.codec.codec(),
        sync_every: args.sync_every,
    };
    let is_over =
        |elapsed| stop.load(Ordering::Relaxed) || args.duration.is_some_and(|duration| elapsed >= duration);
    let report = fleet::run(&config, &is_over)?;
    if args.json {
        outln!("{:#}", serde_json::to_value(&report)?);
    } else {
        print(args, broker, &report);
    }
    if report.learned == 0 && report.experiences > 0 {
        bail!(
            "no experience was learned from; is a trainer at {broker}? `hwmeter serve --role trainer` is one"
        );
    }
    Ok(())
}

fn print(args: &LoadArgs, broker: &BrokerUrls, report: &FleetReport) {
    outln!(
        "{} devices with {}, {} experiences per second each, toward {broker} for {}",
        report.devices,
        args.learner,
        ui::short(args.device_rate),
        ui::seconds(report.duration_s)
    );
    let mut rows = table(&[]);
    rows.add_row([
        "experiences",
        &format!(
            "{} sent, {} learned from, {} lost, {} more than once",
            report.experiences, report.learned, report.lost, report.duplicates
        ),
    ]);
    if let (Some(p50), Some(p99)) = (report.update_p50_s, report.update_p99_s) {
        let [p50, p99] = [p50, p99].map(ui::seconds);
        rows.add_row(["new weights after", &format!("p50 {p50}, p99 {p99}")]);
    }
    rows.add_row([
        "bytes each",
        &format!(
            "{:.0} up, {:.0} down",
            report.bytes_up_each, report.bytes_down_each
        ),
    ]);
    let joules = match (report.update_j, report.update_j_kind) {
        (Some(joules), Some(kind)) => format!("{:.3} mJ above idle, {kind}", 1e3 * joules),
        _ => "not known to it".to_owned(),
    };
    rows.add_row(["trainer, each", &joules]);
    outln!("{}", rows.trim_fmt());
}
