//! The options of training, for the processes that pass them on.

use crate::cli::{EngineName, TrainingArgs};
use clap::ValueEnum;
use hwmeter::train::manager::{Config, Group, Membership};
use hwmeter::train::topic::Name;
use hwmeter::train::types::OfType;
use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

/// How long a trainer of a group that is not heard of any more counts as alive.
const LEASE: Duration = Duration::from_secs(15);

/// Where a trainer has its broker.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// Where the options say.
    AsAsked,
    /// In its own process, on this address.
    Listening(&'a str),
    /// In another process of ours. The password comes by [`STDIN`].
    Beside { url: &'a str, user: &'a str },
}

/// The file by which whoever starts a process gives it a password: neither on the command line nor in the environment
/// is it safe from others.
pub const STDIN: &str = "/dev/stdin";

impl TrainingArgs {
    /// Whether anything says how to train.
    pub fn is_asked_for(&self) -> bool {
        self.broker.broker.is_some()
            || self.learner_processes
            || self.no_energy
            || self.own().iter().any(|(_, value)| value.is_some())
    }

    /// Gives the same options to another process of ours.
    pub fn pass_on(&self, command: &mut Command, place: Place) {
        match place {
            Place::Beside { url, user } => {
                command.args(["--broker", url, "--broker-user", user]);
                command.args(["--broker-password-file", STDIN]);
            }
            Place::AsAsked | Place::Listening(_) => self.broker.pass_on(command),
        }
        if self.no_energy {
            command.arg("--no-energy");
        }
        if let Some(file) = &self.calibration {
            command.arg("--calibration").arg(file);
        }
        for (name, value) in self.own() {
            let value = match (name, place) {
                ("--mqtt-listen", Place::Listening(address)) => Some(address.into()),
                ("--mqtt-listen" | "--mqtt-users", Place::Beside { .. }) => None,
                _ => value,
            };
            if let Some(value) = value {
                command.arg(name).arg(value);
            }
        }
    }

    /// All but those of the broker.
    fn own(&self) -> [(&'static str, Option<OsString>); 10] {
        fn text(value: impl ToString) -> OsString {
            value.to_string().into()
        }
        let engine = self.engine.as_ref().and_then(EngineName::to_possible_value);
        [
            ("--mqtt-listen", self.mqtt_listen.map(text)),
            ("--mqtt-users", self.mqtt_users.clone().map(Into::into)),
            ("--state", self.state.clone().map(Into::into)),
            ("--trainer-name", self.trainer_name.as_ref().map(text)),
            ("--shard", self.shard.map(text)),
            ("--group", self.group.as_ref().map(text)),
            ("--max-learners", self.max_learners.map(text)),
            ("--store-every", self.store_every.map(text)),
            ("--sensor", self.sensor.as_ref().map(text)),
            ("--engine", engine.map(|engine| engine.get_name().into())),
        ]
    }

    /// What the learners' manager needs of them.
    pub fn config(&self, trainer: Name) -> anyhow::Result<Config> {
        let mut config = Config::new(trainer);
        if let Some(group) = &self.group {
            let group = Group::new(group.clone(), config.trainer.clone(), rand::random(), LEASE);
            config.membership = Membership::Group(Box::new(group));
        }
        if self.engine == Some(EngineName::Torch) {
            config.engine = hwmeter::learn::Engine::torch(false)?;
        }
        if let Some(shard) = self.shard {
            config.membership = Membership::Shard(shard);
        }
        config.of_type = match &self.of_type {
            Some(of_type) => OfType::One(of_type.clone()),
            None if self.say_types => OfType::Rest,
            None => OfType::Any,
        };
        config.max_learners = self.max_learners.map_or(config.max_learners, Into::into);
        config.store_updates = self.store_every.map_or(config.store_updates, Into::into);
        Ok(config)
    }
}
