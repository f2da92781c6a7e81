//! What a device needs to be let in by its servers: whom it trusts, and the token it shows.

use super::tls;
use super::url::Url;
use crate::serve::{TokenError, Tokens};
use hyper::header::HeaderValue;
use rustls::ClientConfig;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Trust and token for all clients of one device. Cheap to clone; the clones share the sessions of TLS, so a client
/// that connects anew need not shake hands in full.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
}

/// Why a device has no access.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        cause: io::Error,
    },
    /// The token file is not used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The file holds no certificates.
    #[error(
        "{} holds no certificate that can be used ({why}); a PEM file of the authority that signed the server's is \
         expected",
        .path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system trusts nobody.
    #[error(
        "this system has no trusted certificates{0}; install them (`apt install ca-certificates`), or name an \
         authority with --ca FILE"
    )]
    NoRoots(String),
}

impl Access {
    /// What these servers need: for `https` the authority in `ca`, or the system's own where there is none; and the
    /// token in `token_file`.
    pub fn to(servers: &[&Url], ca: Option<&Path>, token_file: Option<&Path>) -> Result<Self, AccessError> {
        let is_encrypted = ca.is_some() || servers.iter().any(|url| url.is_https());
        let tls = is_encrypted.then(|| tls::http(ca)).transpose()?;
        let token = token_file.map(authorization).transpose()?;
        let is_exposed = |url: &&&Url| token.is_some() && !url.is_https() && !url.is_loopback();
        for url in servers.iter().filter(is_exposed) {
            tracing::warn!("the token goes to {url} for everybody on the way to read; use https there");
        }
        Ok(Self { tls, token })
    }

    /// How to speak TLS, if that was asked for.
    pub(super) fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.clone()
    }

    /// The `Authorization` header.
    pub(super) fn token(&self) -> Option<&HeaderValue> {
        self.token.as_ref()
    }
}

/// The `Authorization` header with the first token of the file, which no log will show.
fn authorization(token_file: &Path) -> Result<HeaderValue, AccessError> {
    let none = || TokenError::Empty(token_file.to_owned());
    let tokens = Tokens::read(token_file)?;
    let token = tokens.first().ok_or_else(none)?;
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| none())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_of_the_servers_own_file_is_shown_and_no_log_shows_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# of the MEC\n0123456789abcdef-one\n0123456789abcdef-two\n",
        )
        .unwrap();
        let access = Access::to(&[], None, Some(file.path())).unwrap();
        assert_eq!(access.token().unwrap(), "Bearer 0123456789abcdef-one");
        assert!(!format!("{access:?}").contains("0123456789abcdef"), "{access:?}");
        let error = Access::to(&[], None, Some(Path::new("/no/such/token"))).unwrap_err();
        assert!(
            error.to_string().contains("cannot read /no/such/token"),
            "{error}"
        );
    }

    #[test]
    fn a_file_without_certificates_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, expected) in [
            ("hello", "no `-----BEGIN CERTIFICATE-----`"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "holds no certificate",
            ),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "holds no certificate"),
        ] {
            std::fs::write(file.path(), content).unwrap();
            let error = Access::to(&[], Some(file.path()), None).unwrap_err();
            assert!(error.to_string().contains(expected), "{content}: {error}");
        }
    }
}
