//! `hwmeter load`: the traffic of other UEs.

use super::{load_devices, stop_signal};
use crate::cli::LoadArgs;
use crate::ui::{self, outln, table};
use anyhow::{Context, bail};
use hwmeter::offload::Access;
use hwmeter::offload::ues::{self, UeConfig, UeReport};

/// Sends until the duration is over, SIGTERM or Ctrl-C, and tells what became of it.
pub fn run(args: &LoadArgs) -> anyhow::Result<()> {
    match (args.devices, args.broker.urls()?) {
        (Some(devices), Some(broker)) => return load_devices::run(args, devices, broker),
        (None, Some(_)) => bail!("--broker is for devices that train: add --devices N"),
        (_, None) => {}
    }
    let stopped = stop_signal::catch()?;
    let config = UeConfig {
        url: args.to.clone(),
        access: Access::to(&[&args.to], args.ca.as_deref(), args.token_file.as_deref())?,
        ues: args.ues,
        rate_bps: args.rate,
        payload_bytes: args.payload.map(|bytes| bytes as usize),
        seed: args.seed,
    };
    let duration = args.duration;
    let stop = async move {
        let Some(duration) = duration else {
            return stopped.await;
        };
        tokio::select! {
            () = stopped => {}
            () = tokio::time::sleep(duration) => {}
        }
    };
    let report = ues::run(&config, stop).context(
        "cannot send to it; a MEC on this machine: hwmeter serve --role mec --listen 127.0.0.1:8080",
    )?;
    if args.json {
        outln!("{:#}", serde_json::to_value(&report)?);
    } else {
        print(&report);
    }
    if report.answered == 0 && report.failed > 0 {
        bail!(
            "no payload was answered; the last failure: {}",
            report.last_failure.as_deref().unwrap_or_default()
        );
    }
    Ok(())
}

fn print(report: &UeReport) {
    let mbps = |bps: f64| format!("{:.2}", bps / 1e6);
    let [slowest, middle, fastest] = report.ue_bps.map(mbps);
    let refused: u64 = report.refused.values().sum();
    let codes: Vec<String> = report
        .refused
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    let codes = if codes.is_empty() {
        String::new()
    } else {
        format!(" ({})", codes.join(", "))
    };
    outln!(
        "{} UEs, {} kB each time, toward {} for {}",
        report.ues,
        ui::short(report.payload_bytes as f64 / 1e3),
        report.to,
        ui::seconds(report.duration_s)
    );
    let mut rows = table(&[]);
    rows.add_row(["asked", &format!("{} Mbit/s", mbps(report.asked_bps))]);
    rows.add_row(["achieved", &format!("{} Mbit/s", mbps(report.achieved_bps))]);
    rows.add_row([
        "  per UE",
        &format!("{slowest}, {middle}, {fastest} Mbit/s (slowest, middle, fastest)"),
    ]);
    rows.add_row([
        "payloads",
        &format!(
            "{} answered, {refused} refused{codes}, {} failed",
            report.answered, report.failed
        ),
    ]);
    if let Some(latency) = report.latency_s {
        let [p50, p90, p99, max] = [latency.p50, latency.p90, latency.p99, latency.max].map(ui::seconds);
        rows.add_row([
            "answer after",
            &format!("p50 {p50}, p90 {p90}, p99 {p99}, at most {max}"),
        ]);
    }
    outln!("{}", rows.trim_fmt());
    if let Some(failure) = &report.last_failure {
        outln!("The last failure: {failure}");
    }
}
