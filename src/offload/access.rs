//! What a device needs to be let in by its servers: whom it trusts, and the token it shows.

use super::tls;
use super::url::Url;
use hyper::header::HeaderValue;
use rustls::ClientConfig;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
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
    /// A token that everybody can read keeps nobody out.
    #[error(
        "the token in {file} can be read by every user of this machine (mode {mode:04o}); run `chmod 600 {file}`, and \
         change the token if others may have seen it",
        file = .path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} holds no token: one line of visible ASCII characters without spaces is expected", .0.display())]
    NoToken(PathBuf),
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
        let is_encrypted = servers.iter().any(|url| url.is_https());
        let tls = match ca {
            Some(file) => Some(tls::trusting(file)?),
            None if is_encrypted => Some(tls::trusting_the_system()?),
            None => None,
        };
        let token = token_file.map(read_token).transpose()?;
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

/// Tokens are short; a longer file is something else.
const LONGEST_TOKEN: u64 = 4096;

fn read_token(path: &Path) -> Result<HeaderValue, AccessError> {
    let unreadable = |cause| AccessError::Read {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(unreadable)?;
    // Of the open file: what is checked is what is read.
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(AccessError::Readable {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(LONGEST_TOKEN)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let token = text.trim_ascii();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AccessError::NoToken(path.to_owned()));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| AccessError::NoToken(path.to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn token(content: &str, mode: u32) -> Result<HeaderValue, AccessError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read_token(&path)
    }

    #[test]
    fn a_token_is_one_word_that_nobody_else_can_read_and_no_log_shows() {
        let header = token("s3cret\n", 0o640).unwrap();
        assert_eq!(header, "Bearer s3cret");
        assert!(header.is_sensitive() && !format!("{header:?}").contains("s3cret"));
        assert!(matches!(
            token("s3cret", 0o644),
            Err(AccessError::Readable { mode: 0o644, .. })
        ));
        for bad in ["", "\n", "two words", "tab\there", "gr\u{fc}n", "\u{7}"] {
            assert!(
                matches!(token(bad, 0o600), Err(AccessError::NoToken(_))),
                "{bad:?}"
            );
        }
        let error = read_token(Path::new("/no/such/token")).unwrap_err().to_string();
        assert!(error.contains("cannot read /no/such/token"), "{error}");
    }
}
