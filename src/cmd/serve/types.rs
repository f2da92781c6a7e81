//! The types of the devices that come to a trainer, said on stdout to its keeper, who has a process for each.
//!
//! The keeper is not locked in, so it reads nothing that devices have written but these names.

use super::announce;
use anyhow::Context;
use hwmeter::train::link::{Event, Link, LinkConfig, Prepared};
use hwmeter::train::topic::Channel;
use hwmeter::train::types::{Heard, MAX_TYPES, Types};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How the line begins that names a new type.
pub const TYPE: &str = "hwmeter serve: devices of type ";
/// How long its goodbye to the broker may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A connection of its own to the broker, on which devices say that they are there.
pub struct Watch<State = Running> {
    types: Arc<Mutex<Types>>,
    state: State,
}

/// It watches.
pub struct Running {
    link: Arc<Link>,
    thread: JoinHandle<()>,
}

impl Watch<Prepared> {
    /// Reads what it takes to connect. `link` is that of the trainer beside it.
    pub fn prepare(mut link: LinkConfig, types: Types) -> anyhow::Result<Self> {
        link.client_id = format!("{}/types", link.client_id);
        // What the broker keeps for those that come later is enough.
        link.clean = true;
        Ok(Self {
            types: Arc::new(Mutex::new(types)),
            state: link.prepare()?,
        })
    }

    /// Begins.
    pub fn start(self) -> anyhow::Result<Watch> {
        let (link, events) = self.state.start()?;
        link.subscribe(&Channel::Status.of_all())?;
        let link = Arc::new(link);
        let types = Arc::clone(&self.types);
        let thread = std::thread::Builder::new()
            .name("hwmeter-types".to_owned())
            .spawn({
                let link = Arc::clone(&link);
                move || listen(&link, &events, &types)
            });
        Ok(Watch {
            types: self.types,
            state: Running {
                link,
                thread: thread.context("cannot watch for types of devices")?,
            },
        })
    }
}

impl Watch {
    /// How it goes.
    pub fn report(&self) {
        tracing::info!("types: {}", lock(&self.types));
    }

    /// Ends.
    pub fn stop(self) {
        self.report();
        self.state.link.stop(GOODBYE);
        // It panicked if this fails, and has said so.
        let _ = self.state.thread.join();
    }
}

/// Until the link ends. What is wrong with the broker, the trainer beside it says.
fn listen(link: &Link, events: &Receiver<Event>, types: &Mutex<Types>) {
    let mut is_told = false;
    for event in events {
        let Event::Message { topic, payload, .. } = event else {
            continue;
        };
        let heard = lock(types).receive(&topic, payload);
        match heard {
            Heard::Nothing => {}
            Heard::New(name) => announce(&format!("{TYPE}{name}")),
            Heard::Refused(said) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(
                        "devices are refused: {MAX_TYPES} types at most have a process, few of them by one device"
                    );
                }
                if let Err(why) = link.publish(said.topic, said.payload, said.retain) {
                    tracing::debug!("a device could not be told that it is refused: {why}");
                }
            }
        }
    }
}

fn lock(types: &Mutex<Types>) -> std::sync::MutexGuard<'_, Types> {
    types.lock().unwrap_or_else(PoisonError::into_inner)
}
