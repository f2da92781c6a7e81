//! What a run was like, for people.

use crate::ui::{self, paint, table};
use hwmeter::agent::Agent;
use hwmeter::agent::audit::Audit;
use hwmeter::agent::observer::Ages;
use hwmeter::agent::per_update::PerUpdate;
use hwmeter::agent::summary::Summary;
use hwmeter::agent::training::stats;
use hwmeter::learn::guard::Counts;
use hwmeter::offload::site::SiteReport;
use hwmeter::run_dir::RunDir;
use hwmeter_hw::meter::MeterStats;
use serde::Serialize;
use serde_json::Value;

/// A device shares its machine with the servers it offloads to: said in `run.json` and in the summary.
pub const SHARE_NOTE: &str = "Device and servers share this machine. The device is charged the machine's idle power plus its \
    own share of the dynamic energy, by CPU time of its process (servers and link emulator excluded).";

/// What the run cost and met besides its tasks.
pub struct Details {
    pub per_update: Option<PerUpdate>,
    pub faults: Counts,
    pub network: Network,
    /// Tasks that ran on the device because their server failed.
    pub fell_back: u64,
    /// The sites of training that were used.
    pub trained: Vec<stats::SiteReport>,
}

/// How the servers were.
#[derive(Clone, Serialize)]
pub struct Network {
    pub mec: SiteReport,
    pub cloud: SiteReport,
    /// How old the MEC's load was when it was used.
    pub mec_load_age: Ages,
}

impl Network {
    pub fn of(agent: &Agent<'_>) -> Self {
        Self {
            mec: agent.executor.mec.report(),
            cloud: agent.executor.cloud.report(),
            mec_load_age: agent.observer.ages(),
        }
    }
}

/// The table at the end.
pub fn print(
    summary: &Summary,
    details: &Details,
    found: &Audit,
    stats: &MeterStats,
    manifest: &Value,
    dir: &RunDir,
    was_stopped: bool,
) {
    let joules = |value: Option<f64>| value.map_or("unknown".to_owned(), |j| format!("{j:.3} J"));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let energy = match (summary.energy_j, summary.energy_u_j) {
        (Some(j), Some(u)) => format!("{j:.1} J ± {:.1} J (k=2)", 2.0 * u),
        _ => "unknown".to_owned(),
    };
    let title = if was_stopped { "Run ended early" } else { "Run" };
    ui::outln!(
        "{}",
        paint(
            ui::BOLD,
            format!(
                "{title}: {} tasks, learner {}",
                summary.tasks,
                learner_name(manifest)
            )
        )
    );
    let mut rows = table(&[]);
    let bound = match found.wrong.is_empty() {
        true => "",
        false => "at most ",
    };
    rows.add_row([
        "success rate",
        &format!("{bound}{}", percent(summary.success_rate)),
    ]);
    rows.add_row(["mean reward", &joules(summary.mean_reward)]);
    let mix = [summary.local, summary.mec, summary.cloud].map(percent);
    rows.add_row([
        "placement",
        &format!("local {}, mec {}, cloud {}", mix[0], mix[1], mix[2]),
    ]);
    rows.add_row(["energy of tasks", &energy]);
    rows.add_row(["  deciding", &joules(summary.decide_j)]);
    rows.add_row(["  executing", &joules(summary.execute_j)]);
    rows.add_row(["energy of training", &joules(summary.train_j)]);
    if let Some(one) = details.per_update {
        let joules = ui::with_uncertainty(1e3 * one.joules, 1e3 * one.uncertainty_joules, "mJ");
        let what = match one.with_decision {
            true => "  per decision and update",
            false => "  per update",
        };
        rows.add_row([
            what,
            &format!("{joules} (k=2), by regression over {} tasks", one.tasks),
        ]);
    }
    rows.add_row([
        "decision time",
        &median_and_tail(summary.decide_p50_s, summary.decide_p99_s),
    ]);
    rows.add_row([
        "training time",
        &median_and_tail(summary.train_p50_s, summary.train_p99_s),
    ]);
    for site in &details.trained {
        rows.add_row([&format!("  {}", site.site.as_str()), &training_line(site)]);
    }
    rows.add_row([
        "latency",
        &median_and_tail(summary.latency_p50_s, summary.latency_p99_s),
    ]);
    rows.add_row([
        "audit",
        &format!(
            "{} results recomputed, {} wrong",
            found.checked,
            found.wrong.len()
        ),
    ]);
    for (name, site) in [("mec", &details.network.mec), ("cloud", &details.network.cloud)] {
        if let Some(failure) = &site.last_failure {
            let times = site.circuit_opened;
            let line = format!("circuit opened {times} x; the last failure: {failure}");
            rows.add_row([name, &line]);
        }
    }
    if details.fell_back > 0 {
        let line = format!(
            "{} tasks ran on the device because their server failed",
            details.fell_back
        );
        rows.add_row(["fallback", &line]);
    }
    rows.add_row(["probes", &probes_line(&details.network)]);
    rows.add_row(["sensor", &sensor_line(manifest, stats)]);
    rows.add_row(["files", &dir.path().display().to_string()]);
    ui::outln!("{}", rows.trim_fmt());
    if summary.tasks_without_energy > 0 {
        ui::outln!(
            "{} tasks have no energy: the sensor gave no sample; they were not learned from.",
            summary.tasks_without_energy
        );
    }
    let faults = &details.faults;
    if faults.rejected_states + faults.rejected_transitions > 0 {
        ui::outln!(
            "{} states and {} transitions held numbers that are not finite; the learner was not shown them.",
            faults.rejected_states,
            faults.rejected_transitions
        );
    }
    if faults.divergences > 0 {
        ui::outln!(
            "The learner diverged {} times and started anew {} times.",
            faults.divergences,
            faults.resets
        );
    }
    if let Some(note) = manifest["energy_note"].as_str() {
        ui::outln!("{note}");
    }
    if let Ok(kind) = serde_json::from_value(manifest["board_kind"].clone())
        && let Some(sentence) = ui::kind_sentence(kind, meter_id(manifest).as_str().unwrap_or_default())
    {
        ui::outln!("{sentence}");
    }
}

fn median_and_tail(p50_s: Option<f64>, p99_s: Option<f64>) -> String {
    let [p50, p99] = [p50_s, p99_s].map(|value| value.map_or("-".to_owned(), ui::seconds));
    format!("p50 {p50}, p99 {p99}")
}

/// What the updates of one site took.
fn training_line(site: &stats::SiteReport) -> String {
    let energy = match site.update_j {
        Some(joules) => format!("{:.3} mJ each above idle", 1e3 * joules),
        None => "energy unknown".to_owned(),
    };
    let mut line = format!(
        "{} updates, {}, {energy}",
        site.updates,
        median_and_tail(site.update_p50_s, site.update_p99_s)
    );
    if let (Some(joules), Some(kind)) = (site.server_j, site.server_j_kind) {
        line += &format!(", {:.3} mJ ({kind}) on the server", 1e3 * joules);
    }
    if site.messages.is_some() && site.updates > 0 {
        let [up, down] = [site.bytes_up, site.bytes_down].map(|bytes| bytes / site.updates);
        line += &format!(", {up} B up and {down} B down each");
    }
    for (count, what) in [(site.lost, "lost"), (site.duplicates, "came twice")] {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    line
}

fn learner_name(manifest: &Value) -> String {
    let text = |key: &str| manifest["learner"][key].as_str().unwrap_or_default().to_owned();
    format!("{} {} ({})", text("name"), text("variant"), text("engine"))
}

/// What the agent sent for its own sake.
fn probes_line(network: &Network) -> String {
    let one = |site: &SiteReport| {
        let failed = match site.probes.failed {
            0 => String::new(),
            n => format!(", {n} failed"),
        };
        format!(
            "{} ({} kB{failed})",
            site.probes.count,
            site.probes.bytes.div_ceil(1000)
        )
    };
    format!("mec {}, cloud {}", one(&network.mec), one(&network.cloud))
}

fn sensor_line(manifest: &Value, stats: &MeterStats) -> String {
    let id = meter_id(manifest).as_str().unwrap_or_default();
    let kind = manifest["kind"].as_str().unwrap_or_default();
    format!(
        "{id}, {kind}, {} samples, {} late ticks, {} lost",
        stats.samples,
        stats.late_ticks,
        stats.lost_samples()
    )
}

/// The sensor's id.
pub fn meter_id(manifest: &Value) -> &Value {
    &manifest["sensor"]["id"]
}
