//! `hwmeter serve --role trainer --keep`: starts a trainer, and starts it again when it ends by itself. With
//! `--learner-processes` one more for each type of device that comes.

use super::kept::Kept;
use super::options::{Place, STDIN};
use super::trainer::{INSIDE, READY};
use super::types::TYPE;
use super::{announce, training};
use crate::cli::ServeArgs;
use anyhow::Context;
use hwmeter::offload::child::OurChild;
use hwmeter::train::broker::Account;
use hwmeter::train::link::BrokerUrls;
use hwmeter::train::topic::Name;
use hwmeter::train::types::MAX_TYPES;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long a trainer may take to be ready.
const START_TIME: Duration = Duration::from_secs(10);
/// How long a broker that somebody else runs is waited for.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long it may take to store its learners when asked to end.
const STOP_TIME: Duration = Duration::from_secs(8);
/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Keeps trainers running until SIGTERM, or until stdin ends. If the first does not even start, it gives up.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let stopping = watch_for_the_end(args.training.keep)?;
    let (mut family, url) = Family::start(args)?;
    announce(&format!("{READY}{url}"));
    while stopping.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        family.look();
    }
    family.stop();
    Ok(())
}

/// Something arrives when it is time to end.
fn watch_for_the_end(with_stdin: bool) -> anyhow::Result<Receiver<()>> {
    let (by_signal, stopping) = channel();
    let by_stdin = by_signal.clone();
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot watch for SIGTERM and SIGINT")?;
    // Nobody listens any more when the end has come already.
    std::thread::spawn(move || {
        signals.forever().next();
        let _ = by_signal.send(());
    });
    if with_stdin {
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
            let _ = by_stdin.send(());
        });
    }
    Ok(stopping)
}

/// The processes that are kept.
struct Family<'a> {
    args: &'a ServeArgs,
    /// The trainer; with processes for types, that of the devices without one.
    main: Kept,
    types: BTreeMap<Name, Kept>,
    /// `None`: the broker is elsewhere, and the options say where.
    own: Option<OwnBroker>,
    account: Account,
}

/// The broker in the trainer's process.
struct OwnBroker {
    /// Its address. Devices know it, so it stays.
    listen: String,
    /// Its URL for processes of ours; empty if there are none.
    inside: String,
}

impl<'a> Family<'a> {
    /// With the broker's URL for devices.
    fn start(args: &'a ServeArgs) -> anyhow::Result<(Self, String)> {
        let elsewhere = args.training.broker.broker.as_ref();
        let account = Account::random();
        let main = start_main(args, None, &account, &[])?;
        let url = ready(&main, elsewhere).context("the trainer did not start")?;
        let own = match elsewhere {
            Some(_) => None,
            None => Some(OwnBroker::of(&main, &url, args.training.learner_processes)?),
        };
        let family = Self {
            args,
            main: Kept::running("trainer", main),
            types: BTreeMap::new(),
            own,
            account,
        };
        Ok((family, url))
    }

    /// Starts what is not there and should be.
    fn look(&mut self) {
        let Self {
            args,
            main,
            types,
            own,
            account,
        } = self;
        main.look(|| {
            let known: Vec<&Name> = types.keys().collect();
            start_main(args, own.as_ref(), account, &known)
        });
        while let Some(line) = main.line() {
            // The process that has said it reads what strangers write: it is not trusted with the number either.
            if let Some(Ok(name)) = line.strip_prefix(TYPE).map(str::parse::<Name>)
                && types.len() < MAX_TYPES
            {
                let kept = || Kept::new(format!("trainer of {name}"));
                types.entry(name.clone()).or_insert_with(kept);
            }
        }
        for (name, kept) in types {
            kept.look(|| start_of_type(args, own.as_ref(), account, name));
        }
    }

    /// All at once, but the broker last: the others say goodbye there.
    fn stop(mut self) {
        self.types.values_mut().for_each(Kept::ask_to_end);
        drop(self.types);
        drop(self.main);
    }
}

impl OwnBroker {
    fn of(trainer: &OurChild, url: &str, has_types: bool) -> anyhow::Result<Self> {
        let inside = match has_types {
            true => trainer.line_within(START_TIME).ok(),
            false => Some(INSIDE.to_owned()),
        };
        let inside = inside.as_ref().and_then(|line| line.strip_prefix(INSIDE));
        Ok(Self {
            listen: address(url).to_owned(),
            inside: inside
                .context("the trainer does not say where others connect")?
                .to_owned(),
        })
    }
}

fn address(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// The trainer, which says types on stdout if there are to be processes for them.
fn start_main(
    args: &ServeArgs,
    own: Option<&OwnBroker>,
    account: &Account,
    known: &[&Name],
) -> anyhow::Result<OurChild> {
    let place = own.map_or(Place::AsAsked, |own| Place::Listening(&own.listen));
    let mut command = training::command(args, place)?;
    if !args.training.learner_processes {
        return started("trainer", &mut command, None);
    }
    command.arg("--say-types");
    for name in known {
        command.args(["--known-type", name.as_str()]);
    }
    if args.training.broker.broker.is_some() {
        return started("trainer", &mut command, None);
    }
    command.args(["--inside-password-file", STDIN]);
    if let Some(own) = own {
        command.args(["--inside-listen", address(&own.inside)]);
    }
    started("trainer", &mut command, Some(account))
}

fn start_of_type(
    args: &ServeArgs,
    own: Option<&OwnBroker>,
    account: &Account,
    name: &Name,
) -> anyhow::Result<OurChild> {
    let place = own.map_or(Place::AsAsked, |own| Place::Beside {
        url: &own.inside,
        user: &account.name,
    });
    let mut command = training::command(args, place)?;
    command.args(["--of-type", name.as_str()]);
    started(&format!("trainer of {name}"), &mut command, own.map(|_| account))
}

/// With the password of this account to read.
fn started(name: &str, command: &mut Command, account: Option<&Account>) -> anyhow::Result<OurChild> {
    // A group of its own: Ctrl-C in the terminal reaches only us, and we decide when it ends.
    command.process_group(0);
    let child = match account {
        Some(account) => OurChild::start_with_input(name, command, STOP_TIME, account.password.as_bytes()),
        None => OurChild::start(name, command, STOP_TIME),
    };
    child.with_context(|| format!("cannot start the {name}"))
}

/// Its broker's URL, once it can be reached. A broker that somebody else runs may come later: it is enough that the
/// trainer waits for it.
fn ready(trainer: &OurChild, elsewhere: Option<&BrokerUrls>) -> Option<String> {
    let limit = elsewhere.map_or(START_TIME, |_| CONNECT_TIME);
    match trainer.line_within(limit) {
        Ok(line) => Some(line.strip_prefix(READY)?.to_owned()),
        Err(RecvTimeoutError::Timeout) => elsewhere.map(BrokerUrls::to_string),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}
