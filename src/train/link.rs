//! An MQTT 3.1.1 client that stays connected: what is published waits for the connection, what comes is an event.
//!
//! ```text
//! Link::publish -> outbox (bounded) -> session: one thread, rumqttc's event loop -> broker
//! Receiver<Event> <- bounded channel <-'   reconnects, subscribes anew, sends again
//! ```
//!
//! Where there are several brokers, the next is tried when one does not answer. What was published and not acknowledged
//! by one is published at the other; what one had and did not deliver, it keeps.
//!
//! Everything goes with QoS 1: it arrives at least once, as long as broker and this process live. What must survive
//! them is the business of the protocol above.

mod backoff;
mod brokers;
mod outbox;
mod problem;
mod session;
mod subscriptions;
mod url;

pub use brokers::BrokerUrls;
pub use problem::Problem;
pub use url::{BrokerUrl, BrokerUrlError, Credentials};

use crate::offload::access::AccessError;
use crate::offload::tls;
use crate::serve::{TlsError, TlsFiles};
use crate::train::lock;
use bytes::Bytes;
use outbox::{Command, Held};
use rumqttc::{LastWill, MqttOptions, QoS, TlsConfiguration, Transport};
use session::Session;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use subscriptions::Subscriptions;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};

/// Room in a packet for the topic and MQTT's own fields.
const ROOM: usize = 1024;
/// The longest topic.
const MAX_TOPIC: usize = 512;
/// Events that may wait to be looked at. More make the broker wait.
const EVENTS: usize = 1024;
/// Packet numbers. Far more than messages on their way, so that the number of one that was not acknowledged does not
/// come up again.
const PACKET_NUMBERS: u16 = 2048;

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkConfig {
    /// The broker, or several, of which the next is tried when one does not answer.
    pub urls: BrokerUrls,
    /// Under which name the broker keeps the session; one client at a time has it.
    pub client_id: String,
    /// User and password; those of the broker's URL where there are none.
    pub credentials: Option<Credentials>,
    /// For `mqtts`: the authority that signed the broker's certificate, as a PEM file; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// For `mqtts`: a certificate of this client, if the broker wants one.
    pub identity: Option<TlsFiles>,
    /// What the broker publishes when this client disappears without a goodbye.
    pub will: Option<Outgoing>,
    /// Whether the broker is to forget everything when the connection ends.
    pub clean: bool,
    /// The largest payload in bytes, both ways.
    pub max_message: usize,
    /// A broker that is silent for up to twice this time is gone; at least 1 s.
    pub keep_alive: Duration,
    /// Messages that may wait for the broker's acknowledgement.
    pub max_queued: usize,
    /// The same in bytes; a single message has room always.
    pub max_queued_bytes: usize,
}

/// A message to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether the broker keeps it for later readers.
    pub retain: bool,
}

impl LinkConfig {
    /// A persistent session, messages of up to 1 MiB of which 1,000 and 32 MiB may wait, a sign of life every 15 s.
    pub fn new(url: BrokerUrl, client_id: impl Into<String>) -> Self {
        Self::to_any_of(url.into(), client_id)
    }

    /// The same, to one of several brokers.
    pub fn to_any_of(urls: BrokerUrls, client_id: impl Into<String>) -> Self {
        Self {
            urls,
            client_id: client_id.into(),
            credentials: None,
            ca: None,
            identity: None,
            will: None,
            clean: false,
            max_message: 1 << 20,
            keep_alive: Duration::from_secs(15),
            max_queued: 1000,
            max_queued_bytes: 32 << 20,
        }
    }

    /// Reads certificates and keys.
    pub fn prepare(self) -> Result<Prepared, LinkError> {
        let options = self.urls.iter().map(|url| self.options(url));
        let options = options.collect::<Result<_, _>>()?;
        Ok(Prepared {
            config: self,
            options,
        })
    }

    fn credentials<'a>(&'a self, url: &'a BrokerUrl) -> Option<&'a Credentials> {
        self.credentials.as_ref().or(url.credentials())
    }

    /// Above this size a packet ends the connection; up to it, one that is too large is only dropped.
    fn largest_packet(&self) -> usize {
        self.max_message.saturating_mul(4).max(16 << 20) + ROOM
    }

    fn options(&self, url: &BrokerUrl) -> Result<MqttOptions, LinkError> {
        let id = &self.client_id;
        if id.is_empty() || id.chars().any(char::is_control) {
            return Err(LinkError::ClientId(id.clone()));
        }
        let mut options = MqttOptions::new(id, url.host(), url.port());
        options
            .set_keep_alive(self.keep_alive.max(Duration::from_secs(1)))
            .set_clean_session(self.clean)
            .set_inflight(PACKET_NUMBERS)
            .set_max_packet_size(self.largest_packet(), self.max_message.saturating_add(ROOM));
        if let Some(credentials) = self.credentials(url) {
            options.set_credentials(&credentials.user, credentials.password());
        }
        if let Some(Outgoing {
            topic,
            payload,
            retain,
        }) = &self.will
        {
            options.set_last_will(LastWill::new(topic, payload.to_vec(), QoS::AtLeastOnce, *retain));
        }
        if url.is_tls() {
            options.set_transport(Transport::tls_with_config(self.tls()?));
        }
        Ok(options)
    }

    fn tls(&self) -> Result<TlsConfiguration, LinkError> {
        let builder = tls::builder(self.ca.as_deref())?;
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let (certs, key) = files.read()?;
                let config = builder.with_client_auth_cert(certs, key);
                config.map_err(|cause| files.unusable(cause))?
            }
        };
        Ok(TlsConfiguration::Rustls(Arc::new(config)))
    }
}

/// A link that has read its files and has no thread yet: between this and [`Prepared::start`] the process can give up
/// its privileges.
pub struct Prepared {
    config: LinkConfig,
    options: Vec<MqttOptions>,
}

impl Prepared {
    /// As [`Link::start`].
    pub fn start(self) -> Result<(Link, Receiver<Event>), LinkError> {
        let Self { config, options } = self;
        let (commands, to_do) = tokio::sync::mpsc::unbounded_channel();
        let (events, receiver) = mpsc::sync_channel(EVENTS);
        let (stop_within, stop) = watch::channel(None);
        let subscriptions = Arc::new(Subscriptions::default());
        let link = Link {
            commands: Mutex::new(Some(commands)),
            held: Arc::default(),
            subscriptions: Arc::clone(&subscriptions),
            max_message: config.max_message,
            max_queued: config.max_queued,
            max_queued_bytes: config.max_queued_bytes,
            stop_within,
            move_on: Arc::default(),
            thread: Mutex::new(None),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let session = Session::new(
            config,
            options,
            events,
            stop,
            subscriptions,
            Arc::clone(&link.held),
            Arc::clone(&link.move_on),
        );
        let thread = std::thread::Builder::new()
            .name("mqtt".to_owned())
            .spawn(move || runtime.block_on(session.run(to_do)))?;
        *lock(&link.thread) = Some(thread);
        Ok((link, receiver))
    }

    /// The brokers.
    pub fn urls(&self) -> &BrokerUrls {
        &self.config.urls
    }
}

/// Why a link cannot even begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The broker's authority.
    #[error(transparent)]
    Trust(#[from] AccessError),
    /// The client's own certificate.
    #[error("the client's certificate: {0}")]
    Identity(#[from] TlsError),
    /// The client's name.
    #[error("{0:?} is no client id: it must not be empty or have control characters")]
    ClientId(String),
    /// Its thread.
    #[error("cannot start the MQTT client: {0}")]
    Thread(#[from] io::Error),
}

/// Why something was not taken. It is for the caller to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotQueued {
    /// So much waits already that there is no room.
    #[error("the queue to the broker is full")]
    Full,
    /// It would never be sent.
    #[error("the message is larger than {0} bytes")]
    TooLarge(usize),
    /// Nothing can be published under this topic.
    #[error("that is no topic to publish under")]
    Topic,
    /// The link was stopped.
    #[error("the link is stopped")]
    Stopped,
}

/// What happens on a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// There is a connection; everything subscribed to has been asked for again.
    Connected,
    /// There is none, or none any more, and this is why. Told once as long as the reason is the same.
    Disconnected(Problem),
    /// Something else does not work; the connection stays.
    Trouble(Problem),
    /// Something came.
    Message {
        /// Under which topic.
        topic: String,
        /// What.
        payload: Bytes,
        /// Whether the broker had kept it from before the subscription.
        retained: bool,
    },
}

/// A client and its thread. Dropped without [`stop`](Self::stop), it disappears like one that crashed, and the broker
/// publishes its last will.
#[derive(Debug)]
pub struct Link {
    /// `None`: stopped.
    commands: Mutex<Option<UnboundedSender<Command>>>,
    held: Arc<Held>,
    subscriptions: Arc<Subscriptions>,
    max_message: usize,
    max_queued: usize,
    max_queued_bytes: usize,
    stop_within: watch::Sender<Option<Duration>>,
    move_on: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<usize>>>,
}

impl Link {
    /// Begins to connect. Errors are those of the configuration; whether there is a broker the events tell.
    ///
    /// The receiver must be emptied: while it is full, nothing more is read from the broker.
    pub fn start(config: LinkConfig) -> Result<(Self, Receiver<Event>), LinkError> {
        config.prepare()?.start()
    }

    /// Queues a message, however the connection is. Never waits.
    pub fn publish(&self, topic: impl Into<String>, payload: Bytes, retain: bool) -> Result<(), NotQueued> {
        let topic = topic.into();
        if payload.len() > self.max_message {
            return Err(NotQueued::TooLarge(self.max_message));
        }
        if topic.is_empty() || topic.len() > MAX_TOPIC || topic.contains(['+', '#', '\0']) {
            return Err(NotQueued::Topic);
        }
        let counted = self.held.add(payload, self.max_queued, self.max_queued_bytes);
        let payload = counted.ok_or(NotQueued::Full)?;
        self.command(Command::Publish {
            topic,
            payload,
            retain,
        })
    }

    /// Reads what comes under these topics, now and after every reconnect. Who asks for the same again, gets again what
    /// the broker keeps.
    pub fn subscribe(&self, filter: &str) -> Result<(), NotQueued> {
        if filter.len() > MAX_TOPIC || !rumqttc::valid_filter(filter) {
            return Err(NotQueued::Topic);
        }
        self.subscriptions.add(filter);
        self.command(Command::Subscribe(filter.to_owned()))
    }

    /// No longer.
    pub fn unsubscribe(&self, filter: &str) -> Result<(), NotQueued> {
        match self.subscriptions.remove(filter) {
            true => self.command(Command::Unsubscribe(filter.to_owned())),
            false => Ok(()),
        }
    }

    /// Messages that the broker has not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.held.messages()
    }

    /// Leaves the broker without a goodbye for the next one of the list, if there are several: it does not have what is
    /// looked for.
    pub fn move_on(&self) {
        self.move_on.notify_waiters();
    }

    /// Sends what is queued, says goodbye and ends the thread; all that within `limit`. The number of messages that the
    /// broker had not acknowledged by then, and may not have got.
    pub fn stop(&self, limit: Duration) -> usize {
        // It may have ended already.
        let _ = self.command(Command::Disconnect);
        lock(&self.commands).take();
        self.end(limit)
    }

    fn end(&self, limit: Duration) -> usize {
        self.stop_within.send_replace(Some(limit));
        let thread = lock(&self.thread).take();
        // If joining fails it panicked, and has said so.
        thread.and_then(|thread| thread.join().ok()).unwrap_or(0)
    }

    fn command(&self, command: Command) -> Result<(), NotQueued> {
        let commands = lock(&self.commands);
        let commands = commands.as_ref().ok_or(NotQueued::Stopped)?;
        commands.send(command).map_err(|_| NotQueued::Stopped)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
