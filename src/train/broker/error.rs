//! Why a broker did not start.

use super::users::UsersError;
use crate::serve::{TlsError, listen_advice};
use std::io;
use std::net::SocketAddr;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Others could reach the broker, and nothing would ask them who they are.
    #[error(
        "refusing to take MQTT connections on {0}: others could reach it, and nothing asks them who they are; \
         add --mqtt-users FILE, or listen on 127.0.0.1"
    )]
    NoUsers(SocketAddr),
    /// Others could reach the broker, and read experiences and passwords on the way.
    #[error(
        "refusing to take MQTT connections on {0}: experiences and passwords would cross the network in the clear; \
         add --tls-cert FILE --tls-key FILE, or listen on 127.0.0.1"
    )]
    NoTls(SocketAddr),
    /// The address cannot be had.
    #[error("cannot take MQTT connections on {address}: {cause}{}", listen_advice(.cause))]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// The users file cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port of this machine, a runtime or a thread cannot be had.
    #[error("the embedded broker cannot start")]
    Io(#[from] io::Error),
}

impl BrokerError {
    /// Is another program on that port?
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Listen { cause, .. } if cause.kind() == io::ErrorKind::AddrInUse)
    }
}
