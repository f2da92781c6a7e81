//! `hwmeter run-agent`: the main job.

pub mod options;
pub mod plan;
mod progress;
mod report;
mod servers;
mod task_source;
mod training;

use super::{context, open_sensor, stop_signal, with_radio};
use crate::cli::{FallbackArg, RunAgentArgs};
use crate::ui;
use anyhow::Context as _;
use hwmeter::agent::audit::{SpotCheck, audit};
use hwmeter::agent::checkpoints::Checkpoints;
use hwmeter::agent::executor::{Executor, Fallback};
use hwmeter::agent::observer::Observer;
use hwmeter::agent::recorder::Recorder;
use hwmeter::agent::reward::{Penalty, RewardRule};
use hwmeter::agent::training::{Training, TrainingSite};
use hwmeter::agent::{Agent, AgentError};
use hwmeter::learn::guard::Guard;
use hwmeter::offload::site::{Site, Watch};
use hwmeter::offload::{Access, Url};
use hwmeter::run_dir::{DecisionWriter, RunDir};
use hwmeter::task::cost::CostModel;
use hwmeter::task::{Speed, Task};
use hwmeter::trace::{TraceWriter, WallClock};
use hwmeter::train::weights::{hex, sha256};
use hwmeter_hw::Root;
use hwmeter_hw::board::Board;
use hwmeter_hw::calibration::Calibration;
use hwmeter_hw::clock::{Clock, Moment, MonotonicClock, SuspendWatch};
use hwmeter_hw::clock_rate::clock_hz;
use hwmeter_hw::cpu::{Affinity, core_count, parse_cpu_list};
use hwmeter_hw::cpu_time::ProcessCpuTime;
use hwmeter_hw::envelope::PowerEnvelope;
use hwmeter_hw::gpu;
use hwmeter_hw::meter::{Meter, MeterOptions, MeterStats};
use hwmeter_hw::sensor::Sensor;
use hwmeter_hw::sensors::Context;
use hwmeter_hw::sensors::process_share::ProcessShare;
use hwmeter_hw::units::{Joules, Watts};
use plan::Plan;
use progress::Progress;
use report::{Network, SHARE_NOTE, meter_id};
use serde_json::{Value, json};
use servers::Servers;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Local tasks run at this share of the machine's speed when device and servers are the same machine.
const DEMO_DEVICE_SPEED: f64 = 0.25;

/// Sets up, runs, audits, prints.
pub fn run(args: &RunAgentArgs, root: &Root, calibration: &Calibration) -> anyhow::Result<ExitCode> {
    run_plan(
        Plan::new(args, args.engine.choose(root)?)?,
        args,
        root,
        calibration,
    )
}

/// The same with a learner that is there already.
pub fn run_plan(
    plan: Plan,
    args: &RunAgentArgs,
    root: &Root,
    calibration: &Calibration,
) -> anyhow::Result<ExitCode> {
    let servers: Vec<&Url> = args.mec.iter().chain(&args.cloud).collect();
    let access = Access::to(&servers, args.ca.as_deref(), args.token_file.as_deref())?;
    let stop = stop_signal::flag()?;
    let (name, seed) = (plan.name.to_string(), plan.seed);
    let dir = RunDir::create(&args.out.clone().unwrap_or_else(|| RunDir::default_path(&name)))?;
    let mut rows = DecisionWriter::create(&dir.decisions())?;
    let trace = TraceWriter::create(&dir.energy())?;
    let setup = Setup::new(&plan, args, root, calibration, &trace, access)?;
    dir.begin_manifest(&with(&setup.manifest, json!({ "status": "running" })))?;

    let training = training::training(
        &plan,
        args,
        &setup.servers,
        &setup.access,
        root,
        &setup.board,
        &dir,
    )?;
    let recorder = recorder(&plan, args, &dir)?;
    let learning = Learning {
        learner: plan.learner,
        training,
        recorder,
    };
    let mut agent = setup.agent(learning, args, root, &stop, &dir)?;
    let mut sink = Progress::new(&mut rows, setup.tasks.len() as u64);
    let outcome = agent.run(&setup.tasks, &mut sink);
    sink.bar.finish_and_clear();
    let (learned, weights) = (agent.learner.counts(), agent.learner.weights());
    let checkpoints_kept = agent.checkpoints.kept;
    let network = Network::of(&agent);
    let of_servers = agent.spot_check.found().clone();
    let trained = agent.into_training().into_reports();
    let touched = gpu::open_devices(std::process::id()).unwrap_or_default();
    let Setup {
        meter,
        manifest,
        tasks,
        awake,
        ..
    } = setup;
    let stats = meter.stop();
    let suspended = awake.elapsed(&MonotonicClock);
    let finished = outcome.map_err(|error| failed(error, &dir, &manifest))?;
    let (answers, fell_back) = (finished.answers, finished.fell_back);
    // Updates of two kinds, or some that were waited for, are not told apart by it.
    let is_local = trained.iter().all(|site| site.site == TrainingSite::Local);
    let per_update = finished.per_update.filter(|_| is_local);

    let was_stopped = stop.load(Ordering::Relaxed);
    let share = if was_stopped { 0.0 } else { args.audit };
    let found = audit(&answers, &tasks, share, seed, &|| stop.load(Ordering::Relaxed));
    rows.mark_wrong(&found.wrong)?;
    let written = trace.finish().check(&dir.energy());
    // What servers got wrong has failed already.
    let summary = finished.tally.summary(found.wrong.len() as u64);
    let found = found.and(of_servers);
    let result = json!({
        "status": if was_stopped { "interrupted" } else { "done" },
        "summary": summary,
        "weights_sha256": hex(&sha256(&weights)),
        "energy_per_update": per_update,
        "training": trained,
        "learner_faults": learned,
        "checkpoints_kept": checkpoints_kept,
        "fell_back": fell_back,
        "network": network,
        "audit": found,
        "success_rate_is_upper_bound": !found.wrong.is_empty(),
        "meter": meter_stats(&stats),
        "suspended_s": suspended,
        "gpu": { "mode": args.engine.gpu_mode(), "hidden": gpu::is_hidden(), "devices_opened": touched },
    });
    dir.write_manifest(&with(&manifest, result.clone()))?;
    if args.json {
        let place = json!({ "out": dir.path(), "sensor": meter_id(&manifest), "kind": manifest["kind"] });
        ui::outln!("{:#}", with(&result, place));
    } else {
        let details = report::Details {
            per_update,
            faults: learned,
            network,
            fell_back,
            trained,
        };
        report::print(&summary, &details, &found, &stats, &manifest, &dir, was_stopped);
        if let Some(sentence) = ui::suspended_sentence(suspended) {
            ui::outln!("{sentence}");
        }
    }
    written?;
    if !found.wrong.is_empty() {
        let (n, file) = (found.wrong.len(), dir.decisions());
        anyhow::bail!(
            "{n} results were wrong; see the error column of {}. Results that were not recomputed may be wrong too, and \
             the learner took them for good: the success rate is an upper bound; repeat without that server, or with \
             --audit 1",
            file.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Who learns, where, and what is kept of it.
struct Learning {
    learner: Guard,
    training: Training,
    recorder: Recorder,
}

/// What a run is made of, before the first task.
struct Setup {
    seed: u64,
    first: u64,
    tasks: Vec<Task>,
    servers: Servers,
    access: Access,
    cost: CostModel,
    meter: Meter,
    origin: Moment,
    awake: SuspendWatch,
    idle: Watts,
    board: Board,
    reward: RewardRule,
    /// `run.json` as far as it is known.
    manifest: Value,
    /// Restores the affinity at the end.
    _pinned: Option<Affinity>,
}

impl Setup {
    fn new(
        plan: &Plan,
        args: &RunAgentArgs,
        root: &Root,
        calibration: &Calibration,
        trace: &TraceWriter,
        access: Access,
    ) -> anyhow::Result<Self> {
        let context = context(root);
        let sensor = open_sensor(&context, calibration, args.sensor.as_deref())?;
        let sensor = with_radio(sensor, args.radio.as_ref(), &context)?;
        let board_kind = sensor.info().kind;
        let tasks = plan.source.tasks.iter().filter(|task| task.id >= plan.first);
        let tasks = tasks.cloned().collect();
        // The servers before the affinity: they are other machines and keep all cores.
        let servers = Servers::start(args, plan.seed)?;
        let pinned = args.cpus.as_deref().map(pin).transpose()?;
        let clock_rate = clock_hz(root);
        let cost = CostModel::calibrate(clock_rate.hz);
        let (meter, envelope, origin) = start_meter(args, &context, sensor, &servers, trace)?;
        let awake = SuspendWatch::begin(&MonotonicClock);
        let reward = reward_rule(args, plan.reward, &envelope);
        let manifest = json!({
            "hwmeter": env!("CARGO_PKG_VERSION"),
            "arguments": std::env::args().collect::<Vec<_>>(),
            "options": args.given,
            "seed": plan.seed,
            "board": context.board,
            "sensor": meter.info(),
            "kind": meter.info().kind,
            "board_kind": board_kind,
            "energy_note": servers.is_shared().then_some(SHARE_NOTE),
            "clock": WallClock::of(origin),
            "sampling_hz": 1.0 / meter.period().0,
            "power": envelope,
            "reward": reward,
            "learner": plan.learner.learner().describe(),
            "tasks": plan.source.tasks.len(),
            "taskset": plan.source.describe(),
            "first_task": plan.first,
            "resumed": args.resume,
            "resumed_without": plan.lost,
            "reset_on_divergence": args.reset_on_divergence,
            "starts_from": starts_from(plan, args),
            "cost_model": cost,
            "clock_rate": clock_rate,
            "device_speed": device_speed(args)?,
            "servers": servers.describe(),
            "gpu": { "mode": args.engine.gpu_mode(), "hidden": gpu::is_hidden() },
            "cpus": Affinity::current().unwrap_or_default(),
        });
        Ok(Self {
            seed: plan.seed,
            first: plan.first,
            tasks,
            servers,
            access,
            cost,
            meter,
            origin,
            awake,
            idle: envelope.idle_watts,
            board: context.board.clone(),
            reward,
            manifest,
            _pinned: pinned,
        })
    }

    fn agent<'a>(
        &'a self,
        learning: Learning,
        args: &RunAgentArgs,
        root: &Root,
        stop: &'a AtomicBool,
        dir: &RunDir,
    ) -> anyhow::Result<Agent<'a>> {
        let (mec, cloud) = (self.servers.mec(), self.servers.cloud());
        let site = |url: &Url, watch, seed| Site::start(url.clone(), &self.access, watch, seed);
        Ok(Agent {
            observer: Observer::new(root),
            executor: Executor {
                clock: Arc::new(MonotonicClock),
                cost: self.cost.clone(),
                device_speed: device_speed(args)?,
                mec: site(mec, Watch::State, self.seed)?,
                cloud: site(cloud, Watch::Health, self.seed.wrapping_add(1))?,
                fallback: match args.fallback {
                    FallbackArg::None => Fallback::None,
                    FallbackArg::Local => Fallback::Local,
                },
                stop,
            },
            learner: learning.learner,
            training: learning.training,
            idle: self.idle,
            recorder: learning.recorder,
            checkpoints: Checkpoints {
                path: dir.learner(),
                every: args.checkpoint_every,
                kept: 0,
            },
            spot_check: SpotCheck::new(args.audit, self.seed),
            meter: &self.meter,
            reward: self.reward,
            origin: self.origin,
            first: self.first,
            stop,
        })
    }
}

/// Keeps what is learned from where that is asked for, and the learner before that, unless it can be built again.
fn recorder(plan: &Plan, args: &RunAgentArgs, dir: &RunDir) -> anyhow::Result<Recorder> {
    if !args.record_transitions {
        return Ok(Recorder::off());
    }
    let start = plan.start(args)?;
    if starts_from(plan, args).is_some() {
        start.write(&dir.start())?;
    }
    Recorder::create(&dir.transitions(), start.header().updates)
}

/// The file that the recorded transitions go on from.
fn starts_from(plan: &Plan, args: &RunAgentArgs) -> Option<&'static str> {
    (args.record_transitions && !plan.is_fresh).then_some("start.safetensors")
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

/// As told, else that of the run that is taken up, else by this board's full-load power.
fn reward_rule(args: &RunAgentArgs, earlier: Option<RewardRule>, envelope: &PowerEnvelope) -> RewardRule {
    match (args.penalty, earlier) {
        (Some(joules), _) => RewardRule {
            penalty: Penalty::Constant(Joules(joules)),
        },
        (None, Some(rule)) => rule,
        (None, None) => RewardRule {
            penalty: Penalty::FullLoad(envelope.full_watts),
        },
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
            ProcessCpuTime::open(Root::default(), std::process::id())?,
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

/// Leaves the reason in `run.json` too; the rows written so far stay.
fn failed(error: AgentError, dir: &RunDir, manifest: &Value) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    let failure = json!({ "status": "failed", "error": format!("{error:#}") });
    if let Err(second) = dir.write_manifest(&with(manifest, failure)) {
        tracing::error!("{second:#}");
    }
    error
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

/// One document with the keys of both; those of `more` win.
fn with(document: &Value, more: Value) -> Value {
    let mut merged = document.clone();
    if let (Some(merged), Value::Object(more)) = (merged.as_object_mut(), more) {
        merged.extend(more);
    }
    merged
}
