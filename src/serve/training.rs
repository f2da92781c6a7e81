//! Where the clients of a server reach the trainer beside it.

use super::ServeConfig;
use hyper::http::uri::Authority;
use std::net::SocketAddr;

/// The trainer beside a server, as the server's operator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trainer {
    /// Its broker is on this machine.
    Here {
        /// Where the broker listens.
        address: SocketAddr,
        /// Whether it speaks TLS.
        is_tls: bool,
    },
    /// It uses a broker that has this URL for everybody.
    Elsewhere(String),
}

/// The broker's URL for a client that reached this server by the given `Host`, or why it cannot reach it.
pub(super) fn broker_for(config: &ServeConfig, host: Option<&str>) -> Result<String, &'static str> {
    let (address, is_tls) = match &config.trainer {
        None => return Err("no learners are trained here; train on the device"),
        Some(Trainer::Elsewhere(url)) => return Ok(url.clone()),
        Some(Trainer::Here { address, is_tls }) => (address, *is_tls),
    };
    if address.ip().is_loopback() && !config.is_local() {
        return Err("learners are trained for this server's own machine only; \
             its operator can let devices in with --mqtt-listen ADDR --mqtt-users FILE");
    }
    let scheme = if is_tls { "mqtts" } else { "mqtt" };
    // By that name the client reaches this machine, and TLS knows the machine by it. Without one it is some address.
    Ok(match host.and_then(host_alone) {
        Some(host) => format!("{scheme}://{host}:{}", address.port()),
        None => format!("{scheme}://{address}"),
    })
}

/// The host of a `Host` header, with the brackets of IPv6.
fn host_alone(header: &str) -> Option<String> {
    let authority: Authority = header.parse().ok()?;
    let host = authority.host();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    (!host.is_empty() && !header.contains('@') && host.chars().all(is_plain)).then(|| host.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::serve::Role;

    fn config(listen: &str, broker: &str, is_tls: bool) -> ServeConfig {
        let mut config = ServeConfig::new(Role::Mec);
        config.listen = listen.parse().unwrap();
        let address = broker.parse().unwrap();
        config.trainer = Some(Trainer::Here { address, is_tls });
        config
    }

    #[test]
    fn a_client_finds_the_broker_by_the_name_it_knows_the_server_by() {
        let local = config("127.0.0.1:8080", "127.0.0.1:1883", false);
        for (host, expected) in [
            (Some("127.0.0.1:8080"), "mqtt://127.0.0.1:1883"),
            (Some("localhost"), "mqtt://localhost:1883"),
            (Some("[::1]:8080"), "mqtt://[::1]:1883"),
            // Whatever is no host name.
            (Some("user@host"), "mqtt://127.0.0.1:1883"),
            (Some("a b"), "mqtt://127.0.0.1:1883"),
            (Some(""), "mqtt://127.0.0.1:1883"),
            (None, "mqtt://127.0.0.1:1883"),
        ] {
            assert_eq!(broker_for(&local, host).unwrap(), expected, "{host:?}");
        }
        let open = config("0.0.0.0:8443", "0.0.0.0:8883", true);
        let broker = broker_for(&open, Some("mec.example:8443")).unwrap();
        assert_eq!(broker, "mqtts://mec.example:8883");
    }

    #[test]
    fn a_broker_that_cannot_be_reached_is_not_named() {
        let hidden = config("0.0.0.0:8443", "127.0.0.1:1883", true);
        assert!(
            broker_for(&hidden, Some("mec.example"))
                .unwrap_err()
                .contains("--mqtt-listen")
        );
        let mut proxied = config("127.0.0.1:8443", "127.0.0.1:1883", true);
        proxied.behind_proxy = true;
        assert!(broker_for(&proxied, Some("mec.example")).is_err());
        assert!(broker_for(&ServeConfig::new(Role::Mec), None).is_err());
        let mut elsewhere = proxied;
        elsewhere.trainer = Some(Trainer::Elsewhere("mqtts://broker.example:8883".to_owned()));
        assert_eq!(
            broker_for(&elsewhere, None).unwrap(),
            "mqtts://broker.example:8883"
        );
    }
}
