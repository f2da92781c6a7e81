//! `hwmeter run-agent`: the main job.

use super::{context, open_sensor};
use crate::cli::{RunAgentArgs, Switch};
use crate::ui::{self, paint, table};
use anyhow::Context as _;
use hwmeter::agent::audit::{Audit, audit};
use hwmeter::agent::executor::Executor;
use hwmeter::agent::ledger::Sink;
use hwmeter::agent::observer::Observer;
use hwmeter::agent::reward::{Penalty, RewardRule};
use hwmeter::agent::summary::{Summary, Tally};
use hwmeter::agent::{Agent, AgentError};
use hwmeter::learn;
use hwmeter::offload::client::Client;
use hwmeter::offload::load_poller::LoadPoller;
use hwmeter::offload::local_servers::{LocalConfig, LocalServers};
use hwmeter::offload::url::Url;
use hwmeter::record::DecisionRecord;
use hwmeter::run_dir::{DecisionWriter, RunDir};
use hwmeter::task::cost::CostModel;
use hwmeter::task::{Kernel, Speed, TaskSet, Work};
use hwmeter::trace::TraceWriter;
use hwmeter_hw::Root;
use hwmeter_hw::clock::{Clock, Moment, MonotonicClock};
use hwmeter_hw::clock_rate::clock_hz;
use hwmeter_hw::cpu::{Affinity, core_count, parse_cpu_list};
use hwmeter_hw::envelope::PowerEnvelope;
use hwmeter_hw::gpu;
use hwmeter_hw::meter::{Meter, MeterOptions, MeterStats};
use hwmeter_hw::sensor::Sensor;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::sensors::process_share::ProcessShare;
use hwmeter_hw::units::Joules;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Local tasks run at this share of the machine's speed when device and servers are the same machine.
const DEMO_DEVICE_SPEED: f64 = 0.25;

/// A device shares its machine with the servers it offloads to: said in `run.json` and in the summary.
const SHARE_NOTE: &str = "Device and servers share this machine. The device is charged the machine's idle power plus its \
    own share of the dynamic energy, by CPU time of its process (servers and link emulator excluded).";

/// Sets up, runs, prints.
pub fn run(args: &RunAgentArgs, root: &Root) -> anyhow::Result<ExitCode> {
    check_gpu(args)?;
    let stop = watch_for_end()?;
    let name = args.learner.to_string();
    let dir = RunDir::create(&args.out.clone().unwrap_or_else(|| RunDir::default_path(&name)))?;
    let mut rows = DecisionWriter::create(&dir.decisions())?;
    let trace = TraceWriter::create(&dir.energy())?;

    let context = context(root);
    let sensor = open_sensor(&context, args.sensor.as_deref())?;
    let board_kind = sensor.info().kind;
    let learner = learn::build(args.learner, args.seed, &learn::Settings::default())?;
    let tasks = TaskSet::default_set(args.tasks as usize, args.seed).tasks;
    let servers = Servers::start(args)?;
    let _pinned = args.cpus.as_deref().map(pin).transpose()?;

    let clock_rate = clock_hz(root);
    let cost = CostModel::calibrate(clock_rate.hz);
    let (meter, envelope, origin) = start_meter(args, &context, sensor, &servers, &trace)?;
    let reward = reward_rule(args, &envelope);
    let manifest = json!({
        "hwmeter": env!("CARGO_PKG_VERSION"),
        "arguments": std::env::args().collect::<Vec<_>>(),
        "seed": args.seed,
        "board": context.board,
        "sensor": meter.info(),
        "kind": meter.info().kind,
        "board_kind": board_kind,
        "energy_note": servers.is_shared().then_some(SHARE_NOTE),
        "clock": clock_offset(origin),
        "sampling_hz": 1.0 / meter.period().0,
        "power": envelope,
        "reward": reward,
        "learner": learner.describe(),
        "tasks": tasks.len(),
        "cost_model": cost,
        "clock_rate": clock_rate,
        "device_speed": device_speed(args)?,
        "servers": servers.describe(),
        "gpu": { "mode": "off", "hidden": gpu::is_hidden() },
        "cpus": Affinity::current().unwrap_or_default(),
    });
    dir.write_manifest(&with(&manifest, json!({ "status": "running" })))?;

    let mut agent = Agent {
        observer: observer(&servers, root, &cost)?,
        executor: Executor {
            clock: Arc::new(MonotonicClock),
            cost,
            device_speed: device_speed(args)?,
            mec: Client::new(servers.mec().clone())?,
            cloud: Client::new(servers.cloud().clone())?,
            stop: &stop,
        },
        learner,
        meter: &meter,
        reward,
        origin,
        stop: &stop,
    };
    let mut sink = Progress::new(&mut rows, tasks.len() as u64);
    let outcome = agent.run(&tasks, &mut sink);
    sink.bar.finish_and_clear();
    let learner = agent.learner;
    let touched = gpu::open_devices(std::process::id()).unwrap_or_default();
    let stats = meter.stop();
    let saved = learner
        .save()
        .write(&dir.learner())
        .context("cannot save the learner");
    let (tally, answers) = match outcome {
        Ok(done) => done,
        Err(error) => return Err(failed(error, &dir, &manifest)),
    };

    let was_stopped = stop.load(Ordering::Relaxed);
    let share = if was_stopped { 0.0 } else { args.audit };
    let found = audit(&answers, &tasks, share, args.seed, &|| {
        stop.load(Ordering::Relaxed)
    });
    rows.mark_wrong(&found.wrong)?;
    let written = trace.finish().check(&dir.energy());
    let summary = tally.summary(found.wrong.len() as u64);
    let result = json!({
        "status": if was_stopped { "interrupted" } else { "done" },
        "summary": summary,
        "audit": found,
        "meter": meter_stats(&stats),
        "gpu": { "mode": "off", "hidden": gpu::is_hidden(), "devices_opened": touched },
    });
    dir.write_manifest(&with(&manifest, result.clone()))?;
    if args.json {
        println!(
            "{:#}",
            with(
                &result,
                json!({ "out": dir.path(), "sensor": meter_id(&manifest), "kind": manifest["kind"] })
            )
        );
    } else {
        print(&summary, &found, &stats, &manifest, &dir, was_stopped);
    }
    saved?;
    written?;
    if !found.wrong.is_empty() {
        anyhow::bail!(
            "{} results were wrong; see the error column of {}",
            found.wrong.len(),
            dir.decisions().display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn check_gpu(args: &RunAgentArgs) -> anyhow::Result<()> {
    if args.gpu == Switch::On {
        anyhow::bail!(
            "--gpu on needs the torch engine, and this build lacks the cargo feature `torch`; \
             use --gpu off, or a build with that feature"
        );
    }
    Ok(())
}

/// The first Ctrl-C, SIGTERM or SIGHUP ends the run with its summary; the second ends the program.
fn watch_for_end() -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("cannot watch for signals")?;
    }
    Ok(stop)
}

fn pin(list: &str) -> anyhow::Result<Affinity> {
    Ok(Affinity::pin(&parse_cpu_list(list)?)?)
}

fn device_speed(args: &RunAgentArgs) -> anyhow::Result<Speed> {
    let default = if args.mec.is_some() {
        1.0
    } else {
        DEMO_DEVICE_SPEED
    };
    Ok(match args.device_speed {
        Some(speed) => speed,
        None => Speed::new(default)?,
    })
}

fn reward_rule(args: &RunAgentArgs, envelope: &PowerEnvelope) -> RewardRule {
    let penalty = match args.penalty {
        Some(joules) => Penalty::Constant(Joules(joules)),
        None => Penalty::FullLoad(envelope.full_watts),
    };
    RewardRule { penalty }
}

/// Where tasks can be sent.
enum Servers {
    /// Child processes of ours.
    Here(Box<LocalServers>),
    /// Real ones.
    There { mec: Url, cloud: Url },
}

impl Servers {
    fn start(args: &RunAgentArgs) -> anyhow::Result<Self> {
        match (&args.mec, &args.cloud) {
            (Some(mec), Some(cloud)) => Ok(Self::There {
                mec: mec.clone(),
                cloud: cloud.clone(),
            }),
            _ => {
                let config = LocalConfig::new().context("cannot tell where this program is")?;
                let servers = LocalServers::start(&config).context("cannot start the servers")?;
                Ok(Self::Here(Box::new(servers)))
            }
        }
    }

    fn mec(&self) -> &Url {
        match self {
            Self::Here(servers) => servers.mec(),
            Self::There { mec, .. } => mec,
        }
    }

    fn cloud(&self) -> &Url {
        match self {
            Self::Here(servers) => servers.cloud(),
            Self::There { cloud, .. } => cloud,
        }
    }

    /// Whether the servers run on the machine whose energy is read.
    fn is_shared(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    fn describe(&self) -> Value {
        use hwmeter::offload::local_servers as local;
        let link = |one_way: Duration, rate_bps: f64, speed: f64| json!({ "one_way_s": one_way.as_secs_f64(), "rate_bps": rate_bps, "speed": speed });
        match self {
            Self::Here(_) => json!({
                "emulated": true,
                "mec": link(local::MEC_ONE_WAY, local::MEC_RATE_BPS, local::MEC_SPEED),
                "cloud": link(local::CLOUD_ONE_WAY, local::CLOUD_RATE_BPS, local::CLOUD_SPEED),
            }),
            Self::There { mec, cloud } => json!({
                "emulated": false,
                "mec": { "url": mec.to_string() },
                "cloud": { "url": cloud.to_string() },
            }),
        }
    }
}

/// Starts to sample the device: the whole board, or this process's share of it.
fn start_meter(
    args: &RunAgentArgs,
    context: &Context,
    mut sensor: Box<dyn Sensor>,
    servers: &Servers,
    trace: &TraceWriter,
) -> anyhow::Result<(Meter, PowerEnvelope, Moment)> {
    let id = sensor.info().id;
    let cores = core_count(&context.root);
    let envelope = PowerEnvelope::find(&mut *sensor, &MonotonicClock, cores)
        .with_context(|| format!("sensor {id} cannot be read"))?;
    let device: Box<dyn Sensor> = if servers.is_shared() {
        let price = (envelope.full_watts.0 - envelope.idle_watts.0) / cores as f64;
        Box::new(ProcessShare::new(
            sensor,
            &context.root,
            Arc::clone(&context.clock),
            std::process::id(),
            envelope.idle_watts,
            price,
        )?)
    } else {
        sensor
    };
    let origin = MonotonicClock.now();
    let rate = args.rate.unwrap_or(device.info().default_rate_hz());
    let options = MeterOptions::at(rate).with_on_sample(trace.on_sample(origin));
    let meter = Meter::start(device, options).with_context(|| format!("sensor {id} cannot be read"))?;
    Ok((meter, envelope, origin))
}

/// Watches device and MEC; one small transfer shows the throughput before the first decision.
fn observer(servers: &Servers, root: &Root, cost: &CostModel) -> anyhow::Result<Observer> {
    const PROBE_BYTES: usize = 128 * 1024;
    const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
    let mut observer = Observer::new(root, LoadPoller::start(servers.mec().clone())?);
    let work = Work {
        kernel: Kernel::Sha256,
        size: cost.size_for(Kernel::Sha256, 1),
        seed: 0,
    };
    let mut client = Client::new(servers.mec().clone())?;
    match client.submit(&work, &vec![0; PROBE_BYTES], PROBE_TIMEOUT) {
        Ok(done) => observer.throughput.observe(
            PROBE_BYTES as u64,
            done.receive_bytes,
            done.receive_s,
            std::time::Instant::now(),
        ),
        Err(error) => tracing::warn!("the MEC does not answer yet: {error}"),
    }
    Ok(observer)
}

/// Rows on their way to the file, and the bar that shows them.
struct Progress<'a> {
    rows: &'a mut DecisionWriter,
    tally: Tally,
    bar: ProgressBar,
}

impl<'a> Progress<'a> {
    /// The bar hides itself when stderr is not a terminal.
    fn new(rows: &'a mut DecisionWriter, tasks: u64) -> Self {
        let bar = ProgressBar::new(tasks);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} tasks  {msg}  {eta} left") {
            bar.set_style(style);
        }
        Self {
            rows,
            tally: Tally::default(),
            bar,
        }
    }
}

impl Sink for Progress<'_> {
    fn write(&mut self, record: &DecisionRecord) -> anyhow::Result<()> {
        self.tally.add(record);
        let [local, mec, cloud] = self.tally.placements();
        let reward = self.tally.mean_reward().unwrap_or(f64::NAN);
        self.bar.set_message(format!(
            "local {local} mec {mec} cloud {cloud}  reward {reward:.2}  {:.0} J",
            self.tally.joules()
        ));
        self.bar.inc(1);
        self.rows.write(record)
    }
}

/// Leaves the reason in `run.json` too; the rows written so far stay.
fn failed(error: AgentError, dir: &RunDir, manifest: &Value) -> anyhow::Error {
    let failure = json!({ "status": "failed", "error": error.to_string() });
    if let Err(second) = dir.write_manifest(&with(manifest, failure)) {
        tracing::error!("{second:#}");
    }
    error.into()
}

/// What to add to monotonic seconds of the run to get Unix time.
fn clock_offset(origin: Moment) -> Value {
    let unix = jiff::Timestamp::now().as_nanosecond() as f64 * 1e-9;
    let since_origin = (MonotonicClock.now() - origin).0;
    json!({ "t_s_zero_unix_s": unix - since_origin })
}

fn meter_stats(stats: &MeterStats) -> Value {
    json!({
        "samples": stats.samples,
        "late_ticks": stats.late_ticks,
        "lost_samples": stats.lost_samples(),
        "counter_resets": stats.resets,
        "last_error": stats.last_error,
    })
}

fn meter_id(manifest: &Value) -> &Value {
    &manifest["sensor"]["id"]
}

/// One document with the keys of both; those of `more` win.
fn with(document: &Value, more: Value) -> Value {
    let mut merged = document.clone();
    if let (Some(merged), Value::Object(more)) = (merged.as_object_mut(), more) {
        merged.extend(more);
    }
    merged
}

fn print(
    summary: &Summary,
    found: &Audit,
    stats: &MeterStats,
    manifest: &Value,
    dir: &RunDir,
    was_stopped: bool,
) {
    let joules = |value: Option<f64>| value.map_or("unknown".to_owned(), |j| format!("{j:.3} J"));
    let time = |value: Option<f64>| value.map_or("-".to_owned(), ui::seconds);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let energy = match (summary.energy_j, summary.energy_u_j) {
        (Some(j), Some(u)) => format!("{j:.1} J ± {:.1} J (k=2)", 2.0 * u),
        _ => "unknown".to_owned(),
    };
    let title = if was_stopped { "Run ended early" } else { "Run" };
    anstream::println!(
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
    rows.add_row(["success rate", &percent(summary.success_rate)]);
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
    rows.add_row([
        "decision time",
        &format!(
            "p50 {}, p99 {}",
            time(summary.decide_p50_s),
            time(summary.decide_p99_s)
        ),
    ]);
    rows.add_row([
        "training time",
        &format!(
            "p50 {}, p99 {}",
            time(summary.train_p50_s),
            time(summary.train_p99_s)
        ),
    ]);
    rows.add_row([
        "latency",
        &format!(
            "p50 {}, p99 {}",
            time(summary.latency_p50_s),
            time(summary.latency_p99_s)
        ),
    ]);
    rows.add_row([
        "audit",
        &format!(
            "{} results recomputed, {} wrong",
            found.checked,
            found.wrong.len()
        ),
    ]);
    rows.add_row(["sensor", &sensor_line(manifest, stats)]);
    rows.add_row(["files", &dir.path().display().to_string()]);
    anstream::println!("{}", rows.trim_fmt());
    if summary.tasks_without_energy > 0 {
        anstream::println!(
            "{} tasks have no energy: the sensor gave no sample; they were not learned from.",
            summary.tasks_without_energy
        );
    }
    if let Some(note) = manifest["energy_note"].as_str() {
        anstream::println!("{note}");
    }
    if let Ok(kind) = serde_json::from_value(manifest["board_kind"].clone())
        && let Some(sentence) = ui::kind_sentence(kind, meter_id(manifest).as_str().unwrap_or_default())
    {
        anstream::println!("{sentence}");
    }
}

fn learner_name(manifest: &Value) -> String {
    let text = |key: &str| manifest["learner"][key].as_str().unwrap_or_default().to_owned();
    format!("{} {} ({})", text("name"), text("variant"), text("engine"))
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
