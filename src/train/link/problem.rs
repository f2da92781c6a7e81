//! What can be wrong between a client and its broker, and what to do about it.

use super::{BrokerUrl, LinkConfig};
use crate::offload::tls;
use rumqttc::{ConnectReturnCode, ConnectionError, Error as PacketError, StateError, TlsError};
use std::io;

/// Why there is no connection, or what of it does not work. The link goes on trying.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nobody answers, or the way there does not exist.
    #[error("cannot reach the broker at {broker}: {why}")]
    Unreachable {
        /// Which broker.
        broker: String,
        /// What the system says.
        why: String,
    },
    /// The certificate, or what listens there does not speak TLS.
    #[error("cannot trust the broker at {broker}: {why}")]
    Tls {
        /// Which broker.
        broker: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// User, password or certificate of this client are not accepted.
    #[error(
        "the broker at {broker} does not let {who} in: check user and password, or the client's certificate"
    )]
    Login {
        /// Which broker.
        broker: String,
        /// As whom we came.
        who: String,
    },
    /// It refuses us for another reason.
    #[error("the broker at {broker} refuses this client: {why}")]
    Refused {
        /// Which broker.
        broker: String,
        /// What it said.
        why: String,
    },
    /// The connection is no more.
    #[error("lost the broker at {broker}: {why}")]
    Lost {
        /// Which broker.
        broker: String,
        /// How it was noticed.
        why: String,
    },
    /// A message is larger than what both sides agreed on; it was dropped.
    #[error("dropped a message of {bytes} bytes on {topic:?}: at most {limit} are taken")]
    TooLarge {
        /// Where it came from.
        topic: String,
        /// Its payload.
        bytes: usize,
        /// The largest payload that is taken.
        limit: usize,
    },
    /// A message is so large that it was not even received. What the broker held for this client is dropped with it.
    #[error(
        "the broker at {broker} sent a message larger than {limit} bytes: connecting anew without what it held for \
         this client; set the broker's own limit below that"
    )]
    FarTooLarge {
        /// Which broker.
        broker: String,
        /// The largest packet that is received.
        limit: usize,
    },
    /// The broker does not allow a subscription.
    #[error("the broker at {broker} does not let this client read {filter}: check its access rules")]
    Subscription {
        /// Which broker.
        broker: String,
        /// What was asked for.
        filter: String,
    },
}

impl Problem {
    /// Whether it will hardly go away by itself.
    pub fn needs_somebody(&self) -> bool {
        !matches!(self, Self::Unreachable { .. } | Self::Lost { .. })
    }
}

/// In our words; `was_connected` tells a connection lost from one that never was.
pub(super) fn of(
    error: &ConnectionError,
    was_connected: bool,
    config: &LinkConfig,
    url: &BrokerUrl,
) -> Problem {
    let broker = url.to_string();
    if let ConnectionError::ConnectionRefused(code) = error {
        return refused(*code, config, url);
    }
    if let ConnectionError::MqttState(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded(_))) =
        error
    {
        let limit = config.largest_packet();
        return Problem::FarTooLarge { broker, limit };
    }
    if let Some(why) = about_tls(error) {
        return Problem::Tls { broker, why };
    }
    match was_connected {
        true => Problem::Lost {
            broker,
            why: lost(error, config),
        },
        false => Problem::Unreachable {
            broker,
            why: unreachable(error),
        },
    }
}

/// What is wrong with the encryption, if that is what is wrong. With TLS 1.3, what the broker thinks of our certificate
/// comes only after the handshake.
fn about_tls(error: &ConnectionError) -> Option<String> {
    const PLAIN: &str = "if it speaks plain MQTT there, write mqtt://";
    match (error, io_error(error)) {
        (ConnectionError::Tls(TlsError::Io(error)), _) => Some(tls::why(error, PLAIN)),
        (ConnectionError::Tls(other), _) => Some(other.to_string()),
        (_, Some(error)) => {
            let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
            Some(match inner {
                rustls::Error::AlertReceived(alert) => format!(
                    "it ended the encrypted connection ({alert:?}); if it wants a certificate of this client, name one"
                ),
                _ => tls::why(error, PLAIN),
            })
        }
        (_, None) => None,
    }
}

/// What the system said, wherever the library has put it.
fn io_error(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(PacketError::Io(error)),
        ) => Some(error),
        _ => None,
    }
}

fn refused(code: ConnectReturnCode, config: &LinkConfig, url: &BrokerUrl) -> Problem {
    let broker = url.to_string();
    let why = match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            let who = match config.credentials(url) {
                Some(credentials) => format!("{:?}", credentials.user),
                None => "a client without user and password".to_owned(),
            };
            return Problem::Login { broker, who };
        }
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1".to_owned(),
        ConnectReturnCode::BadClientId => format!("it does not like the client id {:?}", config.client_id),
        ConnectReturnCode::ServiceUnavailable => "it is out of service just now".to_owned(),
        ConnectReturnCode::Success => "it said both no and yes".to_owned(),
    };
    Problem::Refused { broker, why }
}

const HUNG_UP: &str = "it closed the connection at once; perhaps it wants TLS (mqtts://)";

fn unreachable(error: &ConnectionError) -> String {
    if let Some(error) = io_error(error) {
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens there; start the broker, or correct the address".to_owned()
            }
            io::ErrorKind::ConnectionReset => HUNG_UP.to_owned(),
            _ => error.to_string(),
        };
    }
    match error {
        ConnectionError::NetworkTimeout => "nobody answers in time".to_owned(),
        ConnectionError::MqttState(StateError::ConnectionAborted) => HUNG_UP.to_owned(),
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            "what listens there does not speak MQTT".to_owned()
        }
        other => other.to_string(),
    }
}

fn lost(error: &ConnectionError, config: &LinkConfig) -> String {
    if let Some(error) = io_error(error) {
        return error.to_string();
    }
    match error {
        ConnectionError::FlushTimeout => "it takes no more bytes".to_owned(),
        ConnectionError::MqttState(StateError::AwaitPingResp | StateError::CollisionTimeout) => {
            "it is silent".to_owned()
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => format!(
            "it closed the connection (if this happens again and again: does another client use the id {:?}, or is a \
             message larger than the broker takes?)",
            config.client_id
        ),
        other => other.to_string(),
    }
}
