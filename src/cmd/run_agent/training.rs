//! Where the learner of a run is trained, from the command line.

use super::plan::{OnMec, Plan};
use super::servers::Servers;
use crate::cli::RunAgentArgs;
use crate::cli::{ProtocolArg, TrainArg};
use crate::cmd::host_name::name_of_host;
use anyhow::{Context as _, bail};
use hwmeter::agent::training::auto::Chooser;
use hwmeter::agent::training::mec::{MecOptions, MecSite, whole, write_base};
use hwmeter::agent::training::{Training, TrainingSite};
use hwmeter::offload::{Access, Client};
use hwmeter::run_dir::RunDir;
use hwmeter::train::device::{DeviceConfig, WholeLearner};
use hwmeter::train::link::BrokerUrls;
use hwmeter::train::queue::{Limits, Queue, now_ms};
use hwmeter::train::remote::Remote;
use hwmeter::train::topic::Pupil;
use hwmeter::train::wire::Presence;
use hwmeter_hw::Root;
use hwmeter_hw::board::Board;
use std::path::Path;
use std::time::Duration;

/// How long the agent waits for an update whose joules are to be told.
const MEASURED_WAIT: Duration = Duration::from_secs(1);
/// How long it waits for each update in the paper's way, which knows no other.
const PAPER_WAIT: Duration = Duration::from_secs(10);
/// No learner is larger than this.
const LARGEST_LEARNER: usize = 256 << 20;
/// How long the MEC may take to say where its broker is.
const ASKING: Duration = Duration::from_secs(5);

/// Where this run learns.
pub fn training(
    plan: &Plan,
    args: &RunAgentArgs,
    servers: &Servers,
    access: &Access,
    root: &Root,
    board: &Board,
    dir: &RunDir,
) -> anyhow::Result<Training> {
    let options = &args.training;
    if options.train == TrainArg::Local || !plan.learner.learns() {
        return Ok(Training::local(plan.count));
    }
    let urls = brokers(args, servers, access)?;
    let mut device = device(plan, args, root, board)?;
    let (queue, base, site) = experiences(plan, dir)?;
    device.rests = options.train == TrainArg::Auto && site == TrainingSite::Local;
    let mut link = options.broker.link(&urls, device.pupil.to_string())?;
    link.max_message = options.max_message as usize;
    let is_paper = options.protocol == ProtocolArg::Paper;
    let mec_options = MecOptions {
        uploads_weights: is_paper,
        measure_every: options.train_measure_every,
        wait: if is_paper { PAPER_WAIT } else { MEASURED_WAIT },
        codec: options.codec.codec(),
        sync_every: u64::from(options.sync_every),
        base_path: dir.base(),
        restore: plan.restore(args),
    };
    let remote = Remote::start(link, device, queue, base).context("cannot train on the MEC")?;
    let mec = MecSite::new(remote, mec_options);
    Ok(match options.train {
        TrainArg::Auto => {
            let chooser = Chooser::new(options.train_latency);
            Training::auto(site, mec, chooser, plan.count)
        }
        _ => Training::mec(mec),
    })
}

/// The brokers that were named, or those that the MEC names.
fn brokers(args: &RunAgentArgs, servers: &Servers, access: &Access) -> anyhow::Result<BrokerUrls> {
    args.training.broker.check()?;
    if let Some(url) = &args.training.broker.broker {
        return Ok(url.clone());
    }
    if let Some(url) = servers.broker() {
        return Ok(url.parse()?);
    }
    let mec = servers.mec();
    let mut client = Client::with_access(mec.clone(), access)?;
    match client.training(ASKING)? {
        Some(url) => Ok(url.parse()?),
        None => bail!(
            "{mec} trains no learners; name a broker that a trainer uses with --broker URL, or use --train local"
        ),
    }
}

/// What this device says of itself.
fn device(plan: &Plan, args: &RunAgentArgs, root: &Root, board: &Board) -> anyhow::Result<DeviceConfig> {
    let options = &args.training;
    let saved = plan.learner.save();
    let header = saved.header();
    let device = match &options.device {
        Some(name) => name.clone(),
        None => name_of_host(root).context("this host has no name that can be used; give --device NAME")?,
    };
    let learner = header.learner.to_string().parse()?;
    Ok(DeviceConfig {
        pupil: Pupil { device, learner },
        presence: Presence {
            device_type: board.kind.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: serde_json::to_string(&header.settings)?,
            seed: header.seed,
            reset_on_divergence: args.reset_on_divergence,
            codec: options.codec.codec() as i32,
            sync_every: options.sync_every,
            max_message: options.max_message,
            uploads_weights: options.protocol == ProtocolArg::Paper,
            ..Presence::default()
        },
        max_message: options.max_message as usize,
        largest: LARGEST_LEARNER,
        rests: false,
    })
}

fn take_along(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The queue of this run: a new one, or that of the run which is taken up, whose experiences go on.
fn experiences(plan: &Plan, dir: &RunDir) -> anyhow::Result<(Queue, Option<WholeLearner>, TrainingSite)> {
    if let Some(OnMec {
        dir: earlier, base, ..
    }) = &plan.resumed_on_mec
    {
        take_along(&earlier.queue(), &dir.queue())?;
        if base.is_some() {
            take_along(&earlier.base(), &dir.base())?;
        }
        let queue = Queue::open(&dir.queue(), Limits::default())?;
        return Ok((queue, base.clone(), TrainingSite::Mec));
    }
    let queue = Queue::create(&dir.queue(), now_ms(), plan.count, Limits::default())?;
    if plan.is_fresh {
        return Ok((queue, None, TrainingSite::Local));
    }
    let base = whole(&plan.learner, plan.count)?;
    write_base(&base, &dir.base())?;
    Ok((queue, Some(base), TrainingSite::Local))
}
