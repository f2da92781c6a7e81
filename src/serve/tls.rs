//! TLS 1.2 and 1.3, by rustls. Its ring provider needs nothing but a C compiler on every board.

use super::secret_file::{self, SecretFileError};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Certificate and key, as PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate of this side, followed by those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate file is none.
    #[error("no certificate in {}: {cause}; it must be PEM, beginning with -----BEGIN CERTIFICATE-----", .path.display())]
    Cert {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        cause: pem::Error,
    },
    /// The key file cannot be had.
    #[error(transparent)]
    KeyFile(#[from] SecretFileError),
    /// The key file holds no key.
    #[error("no private key in {}: {cause}; it must be PEM, without a password", .path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        cause: pem::Error,
    },
    /// They do not go together, or are of a kind that is not known.
    #[error("cannot use {} with {}: {cause}", .cert.display(), .key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
}

impl TlsFiles {
    /// Certificate and key as rustls takes them.
    pub(crate) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let certs = read_certs(&self.cert)?;
        let text = secret_file::read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|cause| TlsError::Key {
            path: self.key.clone(),
            cause,
        })?;
        Ok((certs, key))
    }

    /// That rustls does not take them.
    pub(crate) fn unusable(&self, cause: rustls::Error) -> TlsError {
        TlsError::Pair {
            cert: self.cert.clone(),
            key: self.key.clone(),
            cause,
        }
    }
}

/// What makes TLS connections of accepted ones, for clients that speak one of these protocols (ALPN), or do not say.
pub(crate) fn acceptor(files: &TlsFiles, protocols: &[&[u8]]) -> Result<TlsAcceptor, TlsError> {
    let (certs, private_key) = files.read()?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(certs, private_key));
    let mut config = config.map_err(|cause| files.unusable(cause))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |cause| TlsError::Cert {
        path: path.to_owned(),
        cause,
    };
    let certs: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    if certs.is_empty() {
        return Err(failed(pem::Error::NoItemsFound));
    }
    Ok(certs)
}
