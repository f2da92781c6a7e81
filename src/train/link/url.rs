//! The address of a broker.

use crate::offload::url::is_loopback;
use crate::serve::{SecretFileError, secret_file};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

/// `mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT]`, checked. Shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    is_tls: bool,
    host: Box<str>,
    port: u16,
    credentials: Option<Credentials>,
}

/// User name and password. No log shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    password: String,
}

/// Why a text is no address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not the address of a broker: {why}")]
pub struct BrokerUrlError {
    url: String,
    why: &'static str,
}

/// How an address is written.
const FORM: &str = "write mqtt://HOST:PORT, or mqtts:// for TLS";

impl BrokerUrl {
    /// Whether everything is to be encrypted.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Host name or address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the broker is on this machine for sure.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// TCP port; 1883 or, with TLS, 8883 when the text named none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User and password, if the text named them.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl Credentials {
    /// For this user; the password may be empty.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// With the password in a file, which must not be readable by everybody.
    pub fn read(user: impl Into<String>, password_file: &Path) -> Result<Self, SecretFileError> {
        let text = secret_file::read(password_file)?;
        Ok(Self::new(user, text.trim_end_matches(['\r', '\n'])))
    }

    /// Only for the broker.
    pub(super) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} with a password", self.user)
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Without TLS.
impl From<SocketAddr> for BrokerUrl {
    fn from(address: SocketAddr) -> Self {
        Self {
            is_tls: false,
            host: address.ip().to_string().into(),
            port: address.port(),
            credentials: None,
        }
    }
}

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        parse(text).map_err(|why| BrokerUrlError {
            url: without_password(text),
            why,
        })
    }
}

fn parse(text: &str) -> Result<BrokerUrl, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let is_tls = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err("only mqtt:// and mqtts:// are supported"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    if place.contains(['/', '?', '#']) {
        return Err("leave out what follows the port");
    }
    let (host, port) = host_and_port(place)?;
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(',') {
        return Err("write mqtt:// or mqtts:// before every broker of a list");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a host name has no spaces");
    }
    let port = match port {
        None if is_tls => 8883,
        None => 1883,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(PORT)?,
    };
    Ok(BrokerUrl {
        is_tls,
        host: host.into(),
        port,
        credentials: login.map(credentials).transpose()?,
    })
}

const PORT: &str = "the port must be 1 to 65535";

/// Of `host`, `host:port`, `[address]` and `[address]:port`.
fn host_and_port(place: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("the `]` is missing")?;
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if port.is_empty() => Ok((host, None)),
            None => Err(PORT),
        };
    }
    match place.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("write an IPv6 address in brackets: [::1]"),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((place, None)),
    }
}

fn credentials(login: &str) -> Result<Credentials, &'static str> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    if user.is_empty() {
        return Err("the user's name before the @ is missing");
    }
    Ok(Credentials::new(decoded(user)?, decoded(password)?))
}

/// With `%40` as `@` and so on.
fn decoded(text: &str) -> Result<String, &'static str> {
    const WHY: &str = "in user and password, write % as %25";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2).ok_or(WHY)?;
        let digits = std::str::from_utf8(digits).map_err(|_| WHY)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(WHY);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| WHY)?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "user and password must be UTF-8")
}

/// What an error may show of a text that is no address.
fn without_password(text: &str) -> String {
    let Some((login, place)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = login.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        "" => format!("...@{place}"),
        _ => format!("{scheme}://...@{place}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_shown_without_the_password() {
        let url: BrokerUrl = "mqtts://pi:s%40c:ret@mec.local".parse().unwrap();
        assert_eq!((url.is_tls(), url.host(), url.port()), (true, "mec.local", 8883));
        let credentials = url.credentials().unwrap();
        assert_eq!(
            (credentials.user.as_str(), credentials.password()),
            ("pi", "s@c:ret")
        );
        assert_eq!(url.to_string(), "mqtts://mec.local:8883");
        assert!(!format!("{url:?} {credentials:?}").contains("ret"));

        let url: BrokerUrl = "mqtt://[::1]:99/".parse().unwrap();
        assert_eq!((url.host(), url.to_string().as_str()), ("::1", "mqtt://[::1]:99"));
        assert_eq!(url, SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 99)).into());
        let url: BrokerUrl = "mqtt://10.0.0.2".parse().unwrap();
        assert_eq!((url.port(), url.credentials()), (1883, None));
    }

    #[test]
    fn anything_else_says_why() {
        let cases = [
            ("http://mec:1", "only mqtt:// and mqtts://"),
            ("mec:1", "write mqtt://HOST:PORT"),
            ("", "write mqtt://HOST:PORT"),
            ("mqtt://", "the host is missing"),
            ("mqtt://:1", "the host is missing"),
            ("mqtt://mec:0", "port"),
            ("mqtt://mec:99999", "port"),
            ("mqtt://mec:", "port"),
            ("mqtt://::1", "brackets"),
            ("mqtt://[::1", "`]`"),
            ("mqtt://[::1]x", "port"),
            ("mqtt://mec:1/x", "leave out"),
            ("mqtt://a b", "no spaces"),
            ("mqtt://@mec", "user's name"),
            ("mqtt://u:%4@mec", "%25"),
            ("mqtt://u:%zz@mec", "%25"),
            ("mqtt://u:%+1@mec", "%25"),
            ("mqtt://u:%ff@mec", "UTF-8"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<BrokerUrl>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_does_not_show_the_password_either() {
        for text in ["mqtt://pi:secret@mec:0", "mqt://pi:secret@mec", "pi:secret@mec"] {
            let error = text.parse::<BrokerUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret") && error.contains("mec"), "{error}");
        }
    }
}
