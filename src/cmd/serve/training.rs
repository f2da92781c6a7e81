//! The trainer that an edge server starts beside it.

use super::options::Place;
use super::trainer::READY;
use crate::cli::{RoleArg, ServeArgs, TrainingArg};
use anyhow::{Context, bail};
use hwmeter::serve::Trainer;
use hwmeter::train::link::{BrokerUrl, BrokerUrls};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running trainer, by way of its keeper.
pub struct Training {
    trainer: Trainer,
    /// The keeper ends when this is closed.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Training {
    /// Starts one and waits until devices can connect, if there is to be one. Call it before the sandbox, and from a
    /// thread that lives as long as the server.
    pub fn start(args: &ServeArgs, is_local: bool) -> anyhow::Result<Option<Self>> {
        let training = &args.training;
        let broker = training.broker.urls()?;
        let is_asked_for = training.is_asked_for();
        if args.role != RoleArg::Mec || training.training == TrainingArg::Off {
            if is_asked_for {
                bail!(
                    "options of training, such as --broker, --mqtt-listen and --state, are for an edge server that \
                     trains, or for a trainer"
                );
            }
            return Ok(None);
        }
        let is_here = |urls: &BrokerUrls| urls.iter().any(BrokerUrl::is_loopback);
        if broker.is_some_and(is_here) && !is_local {
            bail!(
                "devices elsewhere could not reach the broker by the address in --broker: name it as they know it"
            );
        }
        if broker.is_none() && training.mqtt_listen.is_none() && !is_local {
            if is_asked_for {
                bail!(
                    "--state and other options of training need --mqtt-listen ADDR or --broker URL: devices elsewhere \
                     could not reach the trainer"
                );
            }
            tracing::info!("no training: devices elsewhere need --mqtt-listen ADDR and --mqtt-users FILE");
            return Ok(None);
        }
        match Self::try_start(args) {
            Ok(running) => Ok(Some(running)),
            Err(why) if is_asked_for => Err(why),
            Err(why) => {
                tracing::warn!("serving without a trainer: {why:#}");
                Ok(None)
            }
        }
    }

    fn try_start(args: &ServeArgs) -> anyhow::Result<Self> {
        let mut command = command(args, Place::AsAsked)?;
        command.arg("--keep").stdin(Stdio::piped()).stdout(Stdio::piped());
        if args.training.learner_processes {
            command.arg("--learner-processes");
        }
        // A group of its own: Ctrl-C in the terminal reaches only us, and we decide when it ends.
        command.process_group(0);
        let mut keeper = command.spawn().context("cannot start the trainer")?;
        let Child { stdin, stdout, .. } = &mut keeper;
        let (stdin, stdout) = (stdin.take(), stdout.take().context("the trainer has no stdout")?);
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).context("cannot hear the trainer")?;
        let Some(url) = line.trim_end().strip_prefix(READY) else {
            drop(stdin);
            let status = keeper.wait().context("cannot tell how the trainer ended")?;
            bail!("the trainer did not start ({status}); what it said stands above");
        };
        Ok(Self {
            trainer: reached_by(args, url)?,
            stdin,
            stdout,
        })
    }

    /// What clients are told.
    pub fn describe(&self) -> Trainer {
        self.trainer.clone()
    }

    /// Ends it, and waits until its learners are stored. In the sandbox it can neither be signalled nor waited for; that
    /// its stdout ends says as much.
    pub fn stop(mut self) {
        drop(self.stdin.take());
        let _ = self.stdout.read_to_end(&mut Vec::new());
    }
}

/// How clients reach the trainer that says it is at this URL.
fn reached_by(args: &ServeArgs, url: &str) -> anyhow::Result<Trainer> {
    if args.training.broker.broker.is_some() {
        return Ok(Trainer::Elsewhere(url.to_owned()));
    }
    let (scheme, address) = url.split_once("://").context("the trainer says no URL")?;
    Ok(Trainer::Here {
        address: address.parse().context("the trainer says no address")?,
        is_tls: scheme == "mqtts",
    })
}

/// A trainer with the same options, and its broker in this place.
pub fn command(args: &ServeArgs, place: Place) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot tell where this program is")?);
    command.args(["serve", "--role", "trainer"]);
    args.training.pass_on(&mut command, place);
    let has_broker = !matches!(place, Place::Beside { .. });
    for (name, file) in [("--tls-cert", &args.tls_cert), ("--tls-key", &args.tls_key)] {
        if let Some(file) = file.as_ref().filter(|_| has_broker) {
            command.arg(name).arg(file);
        }
    }
    if args.no_sandbox {
        command.arg("--no-sandbox");
    }
    if !tracing::enabled!(tracing::Level::WARN) {
        command.arg("--quiet");
    } else if tracing::enabled!(tracing::Level::INFO) {
        command.arg("--verbose");
    }
    Ok(command)
}
