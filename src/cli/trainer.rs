//! Arguments of `hwmeter trainer`, and those of the trainer in `hwmeter serve`.

use super::EngineName;
use super::broker::BrokerArgs;
use clap::{Args, Subcommand, ValueEnum};
use hwmeter::offload::url::Url;
use hwmeter::train::manager::Shard;
use hwmeter::train::topic::Name;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum TrainerCommand {
    /// List the learners of running trainers: devices, versions, lag, updates per second, bytes
    Status(Box<StatusArgs>),
    /// Train the learner of a run once more on the transitions that it has recorded, and compare the weights
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The run's folder, written by `hwmeter run-agent --record-transitions`
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Ask this edge server which broker its trainer uses
    /// [default, without --broker as well: mqtt://127.0.0.1:1883, the trainer of this machine]
    #[arg(long, value_name = "URL", conflicts_with = "broker")]
    pub mec: Option<Url>,
    /// The token for that server, as in its own --token-file
    #[arg(long, value_name = "FILE", requires = "mec")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the certificate of that server [default: those this system trusts]
    #[arg(long, value_name = "FILE", requires = "mec")]
    pub ca: Option<PathBuf>,
    /// Print anew whenever something changes, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON document; with --watch one a line
    #[arg(long)]
    pub json: bool,
}

/// What concerns the trainer.
#[derive(Debug, Args)]
pub struct TrainingArgs {
    /// Whether an edge server starts a trainer beside it. With `auto` and no other option of training, it serves without
    /// one if that cannot be
    #[arg(long, value_enum, default_value = "auto")]
    pub training: TrainingArg,

    #[command(flatten)]
    pub broker: BrokerArgs,

    /// Address and port on which the trainer's own MQTT broker listens
    /// [default: 127.0.0.1:1883, or any free port where that one is taken]
    #[arg(long, value_name = "ADDR", conflicts_with = "broker")]
    pub mqtt_listen: Option<SocketAddr>,

    /// Who may use that broker: lines `device NAME:PASSWORD` and `trainer NAME:PASSWORD`. A device then reads and writes
    /// what is its own, a trainer everything. Must not be readable by everybody. Needed unless only this machine is served
    #[arg(long, value_name = "FILE", conflicts_with = "broker")]
    pub mqtt_users: Option<PathBuf>,

    /// The folder in which the trainer keeps learners, or, in builds that have it, a bucket of S3: s3://BUCKET/PREFIX, with
    /// keys and server in the usual AWS_* variables [default: hwmeter/trainer in the state folder of the user]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// The trainer's name, which no other at the same broker has: letters, digits, - and _ [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub trainer_name: Option<Name>,

    /// Train the devices of the share I of N alone (0/3, 1/3, 2/3): so many trainers divide them at one broker
    #[arg(long, value_name = "I/N", requires = "broker")]
    pub shard: Option<Shard>,

    /// Train the devices together with the trainers of this group at the same broker: they divide them among those alive,
    /// and share what --state names
    #[arg(long, value_name = "NAME", requires = "broker", conflicts_with = "shard")]
    pub group: Option<Name>,

    /// Train in one process for each type of device, as the paper does: raspberry-pi-4, jetson-nano and so on, 16 at
    /// most. Without it, all learners are in one process
    #[arg(long, conflicts_with = "group")]
    pub learner_processes: bool,

    /// Learners in memory at once; the others wait on disk [default: 1000]
    #[arg(long, value_name = "N")]
    pub max_learners: Option<NonZeroUsize>,

    /// Updates after which a learner is stored; it is stored 30 s after the first of them in any case [default: 1000]
    #[arg(long, value_name = "N")]
    pub store_every: Option<NonZeroU64>,

    /// What does the arithmetic of the learners: ours, or libtorch on the CPU (ac and dqn, in builds that have it)
    /// [default: native]
    #[arg(long, value_enum, value_name = "native|torch", hide_possible_values = true)]
    pub engine: Option<EngineName>,

    /// The sensor of this machine by which updates are given their joules, as in `hwmeter probe` [default: the best one there
    /// is; without one, or where its idle power is not known, they are not told]
    #[arg(long, value_name = "SENSOR", conflicts_with = "no_energy")]
    pub sensor: Option<String>,

    /// Read no sensor
    #[arg(long)]
    pub no_energy: bool,

    /// That of the program, for other processes of ours
    #[arg(skip)]
    pub calibration: Option<PathBuf>,

    /// Start the trainer again when it ends, until stdin ends
    #[arg(long, hide = true)]
    pub keep: bool,

    /// File with the password by which other processes of ours get in at the trainer's own broker
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "broker")]
    pub inside_password_file: Option<PathBuf>,

    /// Where they connect if that broker speaks TLS
    #[arg(long, hide = true, value_name = "ADDR", conflicts_with = "broker")]
    pub inside_listen: Option<SocketAddr>,

    /// Train the devices of this type alone
    #[arg(long, hide = true, value_name = "TYPE", conflicts_with = "say_types")]
    pub of_type: Option<Name>,

    /// Train the devices without a type, and say the types of the others on stdout
    #[arg(long, hide = true)]
    pub say_types: bool,

    /// A type that has been said already
    #[arg(long, hide = true, value_name = "TYPE", requires = "say_types")]
    pub known_type: Vec<Name>,
}

/// Whether to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrainingArg {
    Auto,
    Off,
}
