//! The address of a server.

use hyper::Uri;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `http[s]://HOST[:PORT][/PREFIX]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    is_https: bool,
    host: Box<str>,
    port: u16,
    prefix: Box<str>,
}

/// Why a text is no address of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not the address of a server: {why}")]
pub struct UrlError {
    url: String,
    why: String,
}

impl Url {
    /// Whether everything is to be encrypted.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Host name or address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the server is on this machine for sure.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// TCP port; 80 or 443 when the text named none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What goes into the `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The path to ask for: the prefix and `path`, which begins with `/`.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

/// Whether this host is this machine for sure.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let fail = |why: &str| UrlError {
            url: text.to_owned(),
            why: why.to_owned(),
        };
        let uri: Uri = text
            .parse()
            .map_err(|e| fail(&format!("{e}; write http://HOST:PORT")))?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(fail("only http:// and https:// are supported")),
            None => return Err(fail("write http://HOST:PORT")),
        };
        let authority = uri.authority().ok_or_else(|| fail("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(fail("user names and passwords are not supported"));
        }
        if uri.query().is_some() {
            return Err(fail("leave out what follows the `?`"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // `port_u16` is `None` both for no port and for one that is no 16-bit number; only the former is fine.
        let port = match (
            authority.port_u16(),
            authority
                .as_str()
                .trim_end_matches(':')
                .ends_with(authority.host()),
        ) {
            (Some(0), _) | (None, false) => return Err(fail("the port must be 1 to 65535")),
            (Some(port), _) => port,
            (None, true) if is_https => 443,
            (None, true) => 80,
        };
        if host.is_empty() {
            return Err(fail("the host is missing"));
        }
        let prefix = uri.path().trim_end_matches('/').into();
        Ok(Self {
            is_https,
            host: host.into(),
            port,
            prefix,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        let url: Url = "http://10.0.0.2:8080/".parse().unwrap();
        assert_eq!(
            (url.host(), url.port(), url.to_string().as_str()),
            ("10.0.0.2", 8080, "http://10.0.0.2:8080")
        );
        let url: Url = "http://mec.local".parse().unwrap();
        assert_eq!((url.host(), url.port()), ("mec.local", 80));
        let url: Url = "https://mec.local/edge".parse().unwrap();
        assert!(url.is_https());
        assert_eq!(
            (url.port(), url.to_string().as_str()),
            (443, "https://mec.local:443/edge")
        );
        let url: Url = "http://[::1]:9/edge/".parse().unwrap();
        assert_eq!((url.host(), url.authority().as_str()), ("::1", "[::1]:9"));
        assert_eq!(url.path("/healthz"), "/edge/healthz");
    }

    #[test]
    fn loopback_is_told_from_the_network() {
        for (text, expected) in [
            ("http://localhost:1", true),
            ("http://127.8.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.2:1", false),
            ("http://mec.local:1", false),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().is_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_says_why() {
        let cases = [
            ("ftp://mec:1", "only http:// and https://"),
            ("https://mec:0", "port"),
            ("mec:1", "write http://HOST:PORT"),
            ("/v1", "write http://HOST:PORT"),
            ("", "write http://HOST:PORT"),
            ("http://mec:0", "port"),
            ("http://mec:99999", "port"),
            ("http://me@mec:1", "user names"),
            ("http://mec:1/?a=b", "leave out"),
            ("http://", "write http://HOST:PORT"),
            ("http:// x", "write http://HOST:PORT"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
