//! TLS as the client speaks it: whom to trust, and in plain words why a server is not.

use super::access::AccessError;
use super::url::Url;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ConfigBuilder, Error, RootCertStore, crypto::ring};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For HTTP: trusts the authorities in a PEM file and nobody else, or, without one, whom this system trusts.
pub(super) fn http(ca: Option<&Path>) -> Result<Arc<ClientConfig>, AccessError> {
    let mut config = builder(ca)?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The same for any protocol.
pub(crate) fn builder(
    ca: Option<&Path>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, AccessError> {
    with_roots(ca.map_or_else(roots_of_the_system, roots_in)?)
}

/// For a client that is to connect without TLS only, and must have a configuration all the same.
#[cfg(feature = "s3")]
pub(crate) fn trusting_nobody() -> Result<ClientConfig, AccessError> {
    Ok(with_roots(RootCertStore::empty())?.with_no_client_auth())
}

fn with_roots(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, AccessError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| AccessError::NoRoots(format!(" that this build can use: {e}")))?;
    Ok(builder.with_root_certificates(roots))
}

fn roots_in(file: &Path) -> Result<RootCertStore, AccessError> {
    let bad = |why: String| AccessError::NoCertificate {
        path: file.to_owned(),
        why,
    };
    let text = std::fs::read(file).map_err(|cause| AccessError::Read {
        path: file.to_owned(),
        cause,
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|e| bad(format!("{e:?}")))?;
        roots.add(certificate).map_err(|e| bad(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it has no `-----BEGIN CERTIFICATE-----`".to_owned()));
    }
    Ok(roots)
}

fn roots_of_the_system() -> Result<RootCertStore, AccessError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may hold certificates that are too old for us; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or(String::new(), |e| format!(" ({e})"));
        return Err(AccessError::NoRoots(why));
    }
    Ok(roots)
}

/// Shakes hands on a fresh connection. Known sessions are resumed.
pub(super) async fn handshake<S>(
    config: Arc<ClientConfig>,
    url: &Url,
    stream: S,
) -> Result<TlsStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(url.host().to_owned())
        .map_err(|_| format!("{:?} is no name that a certificate can have", url.host()))?;
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| why(&error, "if it serves plain HTTP there, write http://"))
}

/// Why a handshake failed, and what to do; `plain` if nobody speaks TLS there.
pub(crate) fn why(error: &io::Error, plain: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(problem)) => about_certificate(problem),
        Some(Error::InvalidMessage(_)) => format!("what listens there does not speak TLS; {plain}"),
        Some(Error::AlertReceived(alert)) => {
            format!("the server ended the handshake ({alert:?}); look at its log")
        }
        Some(Error::PeerIncompatible(what)) => {
            format!("no common version or cipher ({what:?}); TLS 1.2 or 1.3 is needed")
        }
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the server closed the connection during the handshake; {plain}")
        }
        None => error.to_string(),
    }
}

fn about_certificate(problem: &CertificateError) -> String {
    use CertificateError as E;
    match problem {
        E::ExpiredContext { time, not_after } => format!(
            "its certificate expired at {}, and this board's clock says {}: renew the certificate, or set the clock \
             if that is wrong",
            shown(*not_after),
            shown(*time)
        ),
        E::NotValidYetContext { time, not_before } => format!(
            "its certificate is not valid before {}, and this board's clock says {}: the clock is probably wrong, \
             set it (`timedatectl set-ntp true`)",
            shown(*not_before),
            shown(*time)
        ),
        E::Expired => "its certificate has expired: renew it, or set this board's clock if that is wrong".to_owned(),
        E::NotValidYet => "its certificate is not valid yet: set this board's clock".to_owned(),
        E::UnknownIssuer => "its certificate was signed by nobody this board trusts: name the authority that \
             signed it with --ca FILE"
            .to_owned(),
        E::BadSignature => "its certificate names an authority this board trusts, but was not signed by it: perhaps the \
             authority was made anew; name the one that signed it with --ca FILE"
            .to_owned(),
        E::NotValidForNameContext { expected, presented } => format!(
            "its certificate is for {}, not for {}: use one of these names in the URL, or make a certificate for \
             this one",
            presented.join(", "),
            expected.to_str()
        ),
        E::NotValidForName => "its certificate is for another name than the URL has".to_owned(),
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => "its certificate is that of an authority \
             (CA:TRUE), which a server must not use: sign one for the server with it, and name the authority with \
             --ca FILE"
            .to_owned(),
        other => format!("its certificate is not accepted: {other}"),
    }
}

fn shown(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
}
