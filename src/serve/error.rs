//! Why a server did not start or had to end.

use super::tls::TlsError;
use super::tokens::TokenError;
use std::io;
use std::net::SocketAddr;

/// Why a server did not start or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Others could reach the server, and nothing would ask them who they are.
    #[error(
        "refusing to serve on {0}: others could reach it, and nothing asks them who they are; \
         add --token-file FILE, or listen on 127.0.0.1"
    )]
    NoToken(SocketAddr),
    /// Others could reach the server, and read tasks and tokens on the way.
    #[error(
        "refusing to serve on {0}: tasks and tokens would cross the network in the clear; add --tls-cert FILE \
         --tls-key FILE, or --behind-proxy if a proxy in front of it does TLS, or listen on 127.0.0.1"
    )]
    NoTls(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {cause}{}", advice(.cause))]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// The tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A task could not even have its payload.
    #[error(
        "--task-memory-mib {0} is too little: a kernel alone may take {1} MiB, and the payload comes on top"
    )]
    Memory(usize, usize),
    /// The runtime or the accept loop failed.
    #[error("the server failed")]
    Io(#[from] io::Error),
    /// `/proc/stat`, from which the load comes, cannot be used, or a thread cannot be had.
    #[error("cannot tell or make the load of this machine")]
    Load(#[from] hwmeter_hw::Error),
}

/// What to do when an address cannot be had.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop the program that holds the port, or choose another (port 0 picks a free one)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address (`ip addr` lists those it has)"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need root, choose a higher one",
        _ => "",
    }
}
