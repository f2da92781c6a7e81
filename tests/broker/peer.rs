//! An MQTT client that does one thing after the other.

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnAck, ConnectionError, Event, EventLoop, Incoming, MqttOptions, QoS, SubscribeReasonCode,
};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Long enough for anything that should happen at all.
pub const PLENTY: Duration = Duration::from_secs(10);
/// Long enough for what should not happen to have happened.
pub const QUIET: Duration = Duration::from_millis(300);

/// A connected client.
pub struct Peer {
    pub client: AsyncClient,
    pub events: EventLoop,
    pub session_present: bool,
    /// Messages that came while something else was waited for.
    early: Vec<(String, Bytes)>,
}

/// The options of a client of a broker on this machine.
pub fn options(broker: SocketAddr, id: &str) -> MqttOptions {
    options_at(&broker.ip().to_string(), broker.port(), id)
}

/// The same by a name of this machine.
pub fn options_at(host: &str, port: u16, id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, host, port);
    options.set_max_packet_size(64 << 20, 64 << 20);
    options
}

/// The same, with a password.
pub fn with_password(broker: SocketAddr, id: &str, name: &str, password: &str) -> MqttOptions {
    let mut options = options(broker, id);
    options.set_credentials(name, password);
    options
}

impl Peer {
    /// Connects once.
    pub async fn connect(options: MqttOptions) -> Result<Self, ConnectionError> {
        let (client, mut events) = AsyncClient::new(options, 100);
        events.network_options.set_tcp_nodelay(true);
        let ConnAck { session_present, .. } = loop {
            match timeout(PLENTY, events.poll()).await.unwrap()? {
                Event::Incoming(Incoming::ConnAck(ack)) => break ack,
                _ => continue,
            }
        };
        Ok(Self {
            client,
            events,
            session_present,
            early: Vec::new(),
        })
    }

    /// Goes on until `found` says what was waited for.
    async fn wait<T>(&mut self, mut found: impl FnMut(&Incoming) -> Option<T>) -> T {
        loop {
            let event = timeout(PLENTY, self.events.poll()).await.unwrap().unwrap();
            let Event::Incoming(packet) = event else { continue };
            let found = found(&packet);
            if let Incoming::Publish(message) = packet {
                self.early.push((message.topic, message.payload));
            }
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Subscribes; says whether it may.
    pub async fn subscribe(&mut self, filter: &str) -> bool {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.wait(|packet| match packet {
            Incoming::SubAck(ack) => Some(ack.return_codes[0] != SubscribeReasonCode::Failure),
            _ => None,
        })
        .await
    }

    /// Publishes, and waits until the broker has it.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, payload)
            .await
            .unwrap();
        self.wait(|packet| matches!(packet, Incoming::PubAck(_)).then_some(()))
            .await;
    }

    /// The next message.
    pub async fn message(&mut self) -> (String, Bytes) {
        if self.early.is_empty() {
            self.wait(|packet| matches!(packet, Incoming::Publish(_)).then_some(()))
                .await;
        }
        self.early.remove(0)
    }

    /// No message comes.
    pub async fn nothing(&mut self) {
        assert!(self.early.is_empty(), "{:?}", self.early);
        if let Ok(message) = timeout(QUIET, self.message()).await {
            panic!("{message:?}");
        }
    }

    /// Goes on until the connection is lost, and says why.
    pub async fn until_lost(&mut self) -> ConnectionError {
        loop {
            if let Err(e) = timeout(PLENTY, self.events.poll()).await.unwrap() {
                return e;
            }
        }
    }

    /// Says goodbye.
    pub async fn leave(mut self) {
        self.client.disconnect().await.unwrap();
        self.until_lost().await;
    }
}
