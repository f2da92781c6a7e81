//! One seed: all devices of a scenario on one calendar.

use super::board::{OnSample, Truth};
use super::device::Device;
use super::event::seconds;
use super::scenario::{DeviceKind, Scenario};
use super::world::{Event, Step, World};
use crate::agent::ledger::Sink;
use crate::agent::reward::RewardRule;
use crate::agent::summary::Summary;
use crate::learn::guard::Counts;
use crate::learn::{Description, LearnError, Weights};
use crate::task::Task;
use hwmeter_hw::sensor::SensorInfo;
use std::sync::Arc;

/// Where what a device writes goes.
pub struct Output {
    /// The rows of its tasks, in their order.
    pub rows: Box<dyn Sink + Send>,
    /// Who sees its samples, if anybody.
    pub on_sample: Option<OnSample>,
}

/// Why a simulation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// A learner cannot be built with its settings.
    #[error("cannot build the learner")]
    Learner(#[from] LearnError),
    /// A profile lacks something.
    #[error("{0}")]
    Profile(String),
    /// A row could not be written.
    #[error("cannot write a row of device {device}")]
    Write {
        /// The device's number.
        device: u32,
        /// What the disk said.
        source: anyhow::Error,
    },
    /// Nothing is to come, and a device is not at its end.
    #[error("device {device} never comes to its end: nothing is planned any more after {after_s} s")]
    Stuck {
        /// The device's number.
        device: u32,
        /// When the last event was.
        after_s: f64,
    },
    /// A device's output could not be made.
    #[error("cannot begin the output of device {device}")]
    Output {
        /// The device's number.
        device: u32,
        /// What the disk said.
        source: anyhow::Error,
    },
}

/// A device at its end.
pub struct Finished {
    /// Its number, from 0.
    pub number: u32,
    /// What it is.
    pub kind: Arc<DeviceKind>,
    /// What its tasks were like.
    pub summary: Summary,
    /// Its true energy.
    pub truth: Truth,
    /// Tasks whose energy came out, and how many of them lie within two standard uncertainties of the truth.
    pub within_two_u: (u64, u64),
    /// What is known about its sensor.
    pub sensor: SensorInfo,
    /// Samples per second.
    pub sampling_hz: f64,
    /// How many there were.
    pub samples: u64,
    /// How rewards came about.
    pub reward: RewardRule,
    /// Its learner.
    pub learner: Description,
    /// What went wrong with that.
    pub learner_faults: Counts,
    /// What its decisions depend on.
    pub weights: Weights,
}

/// Runs a scenario with a seed. `output` is asked for each device, in the order of their numbers; `done` is told of each
/// task.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    output: &mut dyn FnMut(u32, &DeviceKind) -> anyhow::Result<Output>,
    done: &dyn Fn(),
) -> Result<Vec<Finished>, SimulateError> {
    let mut world = World::new(scenario, seed);
    let mut devices = devices(scenario, seed, output)?;
    for device in &devices {
        world.plan_in(0.0, device.number, 0, Step::Settle);
    }
    let mut running = devices.len();
    while running > 0
        && let Some(event) = world.calendar.take()
    {
        let Some(number) = handle(event, &mut world, &mut devices)? else {
            continue;
        };
        let device = &mut devices[number as usize];
        for _ in 0..device.take_written() {
            done();
        }
        running -= usize::from(device.is_finished);
    }
    if let Some(stuck) = devices.iter().find(|device| !device.is_finished) {
        return Err(SimulateError::Stuck {
            device: stuck.number,
            after_s: seconds(world.now()),
        });
    }
    Ok(devices.into_iter().map(Device::into_finished).collect())
}

fn devices(
    scenario: &Scenario,
    seed: u64,
    output: &mut dyn FnMut(u32, &DeviceKind) -> anyhow::Result<Output>,
) -> Result<Vec<Device>, SimulateError> {
    let tasks: Arc<[Task]> = scenario.task_set(seed).into();
    let mut devices = Vec::with_capacity(scenario.device_count());
    for kind in &scenario.devices {
        let kind = Arc::new(kind.clone());
        for _ in 0..kind.count {
            let device = devices.len() as u32;
            let output = output(device, &kind).map_err(|source| SimulateError::Output { device, source })?;
            devices.push(Device::new(scenario, device, &kind, &tasks, seed, output)?);
        }
    }
    Ok(devices)
}

/// Lets an event happen; the device that it happened to, if it is one that went on and was not finished before.
fn handle(event: Event, world: &mut World, devices: &mut [Device]) -> Result<Option<u32>, SimulateError> {
    match event {
        Event::Device { device, turn, step } => {
            let at = &mut devices[device as usize];
            if at.is_finished {
                return Ok(None);
            }
            at.on(turn, step, world)?;
            Ok(Some(device))
        }
        Event::Cell { way, version } => {
            for transfer in world.left_cell(way, version) {
                devices[transfer.device as usize].left_cell(way, &transfer, world);
            }
            Ok(None)
        }
        Event::Served(job) => {
            devices[job.device as usize].served(&job, world);
            world.leave(job.site, |next| {
                devices[next.device as usize].is_waiting_for(next.turn)
            });
            Ok(None)
        }
    }
}
