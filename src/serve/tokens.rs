//! Bearer tokens (RFC 6750): who may use the server.

use super::secret_file::{self, SecretFileError};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use std::fmt;
use std::path::{Path, PathBuf};
use subtle::{Choice, ConstantTimeEq};

/// A shorter token could be guessed.
const SHORTEST: usize = 16;

/// The tokens that let somebody in.
#[derive(Clone)]
pub struct Tokens(Vec<String>);

/// Why a token file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A line is no token. The message does not show it: it may be one with a slip.
    #[error(
        "line {line} of {} is no token: at least {SHORTEST} letters, digits and -._~+/, then perhaps =; \
         make one with: openssl rand -hex 32",
        .path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no token.
    #[error("{} holds no token; make one with: openssl rand -hex 32", .0.display())]
    Empty(PathBuf),
}

impl Tokens {
    /// Reads a file with one token a line; empty lines and lines that begin with `#` do not count.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = secret_file::read(path)?;
        let mut tokens = Vec::new();
        for (line, token) in (1..).zip(text.lines().map(str::trim)) {
            if token.is_empty() || token.starts_with('#') {
                continue;
            }
            if token.len() < SHORTEST || !is_token68(token) {
                let path = path.to_owned();
                return Err(TokenError::Line { path, line });
            }
            tokens.push(token.to_owned());
        }
        if tokens.is_empty() {
            return Err(TokenError::Empty(path.to_owned()));
        }
        Ok(Self(tokens))
    }

    /// The first token: what a client shows.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Do these headers carry one of the tokens? Takes as long for a near miss as for a far one; only the lengths
    /// of tokens could be found out by timing.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(given) = bearer(headers) else {
            return false;
        };
        let equal = |known: &String| known.as_bytes().ct_eq(given);
        // All are compared: which one fits is not told by timing either.
        self.0
            .iter()
            .map(equal)
            .fold(Choice::from(0), |any, one| any | one)
            .into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

/// The token of `Authorization: Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// What may stand after `Bearer` (RFC 9110, 11.2).
fn is_token68(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn read(text: &str, mode: u32) -> Result<Tokens, TokenError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Tokens::read(&path)
    }

    #[test]
    fn every_token_of_the_file_admits_and_nothing_else_does() {
        let file = "# two devices\n\n  0123456789abcdef \nQUJDREVGR0hJSktMTU5P==\n";
        let tokens = read(file, 0o600).unwrap();
        let admits = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            tokens.admit(&headers)
        };
        assert!(admits("Bearer 0123456789abcdef"));
        assert!(admits("bearer QUJDREVGR0hJSktMTU5P=="));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcde",
            "Bearer ",
            "Bearer",
            "",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer # two devices",
        ] {
            assert!(!admits(wrong), "{wrong:?}");
        }
        assert!(!tokens.admit(&HeaderMap::new()));
        assert!(!format!("{tokens:?}").contains("0123"));
    }

    #[test]
    fn a_file_that_is_none_or_open_to_all_is_refused() {
        let good = "0123456789abcdef\n";
        let error = read(good, 0o644).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        assert!(read(good, 0o640).is_ok());
        for (text, expected) in [
            ("", "holds no token"),
            ("# nothing\n", "holds no token"),
            ("0123456789abcdef\nshort\n", "line 2"),
            ("two words in a line\n", "line 1"),
        ] {
            let error = read(text, 0o600).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
            assert!(!error.contains("short\n") && !error.contains("words"), "{error}");
        }
        let error = Tokens::read(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent"), "{error}");
    }
}
