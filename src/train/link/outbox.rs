//! What waits to be sent, how much of it there is, and how many messages the broker may owe an answer for.

use super::subscriptions::Subscriptions;
use bytes::Bytes;
use rumqttc::{AsyncClient, ClientError, QoS};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Messages that the broker has not acknowledged yet, at most.
const WINDOW: usize = 64;
/// How often subscriptions that were refused are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// What the link is asked to send.
#[derive(Debug)]
pub(super) enum Command {
    /// A message.
    Publish {
        topic: String,
        payload: Counted,
        retain: bool,
    },
    /// Ask for messages.
    Subscribe(String),
    /// No more of them.
    Unsubscribe(String),
    /// Say goodbye.
    Disconnect,
}

/// How much is not acknowledged by the broker: queued or on its way.
#[derive(Debug, Default)]
pub(super) struct Held {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Held {
    /// How many messages.
    pub fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Counts this payload in, unless there are so many messages or bytes already. One message always has room.
    pub fn add(self: &Arc<Self>, payload: Bytes, messages: usize, bytes: usize) -> Option<Counted> {
        let others = self.messages.fetch_add(1, Ordering::Relaxed);
        let other_bytes = self.bytes.fetch_add(payload.len(), Ordering::Relaxed);
        let counted = Counted {
            payload,
            held: Arc::clone(self),
        };
        let fits = other_bytes.saturating_add(counted.payload.len()) <= bytes;
        (others < messages && (others == 0 || fits)).then_some(counted)
    }
}

/// A payload that is counted until nobody holds it any more.
#[derive(Debug)]
pub(super) struct Counted {
    payload: Bytes,
    held: Arc<Held>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.messages.fetch_sub(1, Ordering::Relaxed);
        self.held.bytes.fetch_sub(self.payload.len(), Ordering::Relaxed);
    }
}

/// The client library drops its last copy of this when the broker has acknowledged it, and so ends both counts: of
/// what is held, and of what is on its way.
struct OnItsWay {
    counted: Counted,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for OnItsWay {
    fn as_ref(&self) -> &[u8] {
        &self.counted.payload
    }
}

/// Hands one command after the other to the client library, when that has a connection and takes it. Never ends.
///
/// The library's own queue stays empty this way. It loses what is in there when the session is gone after a reconnect,
/// and, when packet numbers wrap around, also otherwise.
pub(super) async fn feed(
    mut commands: UnboundedReceiver<Command>,
    client: AsyncClient,
    subscriptions: &Subscriptions,
) {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut ask_again = tokio::time::interval(ASK_AGAIN);
    loop {
        let to_do = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => vec![command],
                None => std::future::pending().await,
            },
            _ = ask_again.tick() => subscriptions.to_ask_again().into_iter().map(Command::Subscribe).collect(),
        };
        for command in to_do {
            // It takes everything: the event loop lives as long as this future.
            let _ = hand_over(command, &client, &window, subscriptions).await;
        }
    }
}

async fn hand_over(
    command: Command,
    client: &AsyncClient,
    window: &Arc<Semaphore>,
    subscriptions: &Subscriptions,
) -> Result<(), ClientError> {
    match command {
        Command::Publish {
            topic,
            payload,
            retain,
        } => {
            let Ok(place) = Arc::clone(window).acquire_owned().await else {
                return Ok(());
            };
            let payload = Bytes::from_owner(OnItsWay {
                counted: payload,
                _place: place,
            });
            client
                .publish_bytes(topic, QoS::AtLeastOnce, retain, payload)
                .await
        }
        Command::Subscribe(filter) => {
            subscriptions.asking(std::slice::from_ref(&filter));
            client.subscribe(filter, QoS::AtLeastOnce).await
        }
        Command::Unsubscribe(filter) => client.unsubscribe(filter).await,
        Command::Disconnect => client.disconnect().await,
    }
}
