//! The brokers of a link, in the order in which they are tried.

use super::{BrokerUrl, BrokerUrlError, Problem};
use rumqttc::MqttOptions;
use std::fmt;
use std::str::FromStr;

/// One or several brokers: `mqtt://a,mqtt://b`. Shown without passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrls(Vec<BrokerUrl>);

impl BrokerUrls {
    /// All of them, at least one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &BrokerUrl> {
        self.0.iter()
    }
}

impl From<BrokerUrl> for BrokerUrls {
    fn from(url: BrokerUrl) -> Self {
        Self(vec![url])
    }
}

impl FromStr for BrokerUrls {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        // A password may have a comma in it; a part of one must not be shown as if it were an address.
        let mut rest = text;
        let mut urls = Vec::new();
        while let Some(comma) = rest.find(",mqtt") {
            urls.push(rest[..comma].parse()?);
            rest = &rest[comma + 1..];
        }
        urls.push(rest.parse()?);
        Ok(Self(urls))
    }
}

impl fmt::Display for BrokerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, url) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{url}")?;
        }
        Ok(())
    }
}

/// Which of them it is just now, and what is known of all.
pub(super) struct Brokers {
    all: Vec<Broker>,
    at: usize,
    /// Those that were tried in vain since there was a connection.
    failed: usize,
}

struct Broker {
    url: BrokerUrl,
    options: MqttOptions,
    /// The problem that the other side knows of.
    told: Option<Problem>,
}

impl Brokers {
    /// `options` as there are URLs.
    pub fn new(urls: &BrokerUrls, options: Vec<MqttOptions>) -> Self {
        let all = urls.iter().zip(options).map(|(url, options)| Broker {
            url: url.clone(),
            options,
            told: None,
        });
        Self {
            all: all.collect(),
            at: 0,
            failed: 0,
        }
    }

    /// The present one.
    pub fn url(&self) -> &BrokerUrl {
        &self.all[self.at].url
    }

    /// How to connect to it.
    pub fn options(&self) -> MqttOptions {
        self.all[self.at].options.clone()
    }

    /// There is a connection to it.
    pub fn connected(&mut self) {
        self.failed = 0;
        self.all[self.at].told = None;
    }

    /// Whether this problem of it is news.
    pub fn is_news(&mut self, problem: &Problem) -> bool {
        let told = &mut self.all[self.at].told;
        let is_news = told.as_ref() != Some(problem);
        *told = Some(problem.clone());
        is_news
    }

    /// The next one is the present one. Whether it is worth trying at once: all have been tried in vain if not.
    pub fn next(&mut self) -> bool {
        self.at = (self.at + 1) % self.all.len();
        self.failed += 1;
        !self.failed.is_multiple_of(self.all.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_with_commas_and_shown_without_passwords() {
        let text = "mqtt://a,mqtts://pi:it,s-secret@b:1,mqtt://[::1]:2";
        let urls: BrokerUrls = text.parse().unwrap();
        assert_eq!(urls.to_string(), "mqtt://a:1883,mqtts://b:1,mqtt://[::1]:2");
        assert_eq!(urls.iter().len(), 3);
        let login = urls.iter().nth(1).unwrap().credentials().unwrap();
        assert_eq!(login.password(), "it,s-secret");
        let one: BrokerUrls = "mqtt://a".parse().unwrap();
        assert_eq!(one, "mqtt://a".parse::<BrokerUrl>().unwrap().into());
    }

    #[test]
    fn what_is_no_list_says_why_and_shows_no_password() {
        for text in ["mqtt://a,b", "mqtt://pi:secret@a,b", "mqtt://a,", ""] {
            let error = text.parse::<BrokerUrls>().unwrap_err().to_string();
            assert!(error.contains("mqtt://"), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn each_is_tried_once_before_there_is_a_wait() {
        let urls: BrokerUrls = "mqtt://a,mqtt://b,mqtt://c".parse().unwrap();
        let options = MqttOptions::new("me", "a", 1);
        let mut brokers = Brokers::new(&urls, vec![options; 3]);
        let mut tried = Vec::new();
        for _ in 0..7 {
            let host = brokers.url().host().to_owned();
            tried.push((host, brokers.next()));
        }
        let of = |host: &str, at_once| (host.to_owned(), at_once);
        let round = [of("a", true), of("b", true), of("c", false)];
        assert_eq!(tried[..3], round);
        assert_eq!(tried[3..6], round);
        // From the one that was connected, all others are tried again.
        brokers.connected();
        assert_eq!(brokers.url().host(), "b");
        assert!(brokers.next() && brokers.next() && !brokers.next());
    }

    #[test]
    fn a_problem_is_told_once_for_each() {
        let urls: BrokerUrls = "mqtt://a,mqtt://b".parse().unwrap();
        let mut brokers = Brokers::new(&urls, vec![MqttOptions::new("me", "a", 1); 2]);
        let problem = |why: &str| Problem::Unreachable {
            broker: "x".to_owned(),
            why: why.to_owned(),
        };
        let mut told = Vec::new();
        for why in ["gone", "gone", "gone", "gone", "other"] {
            told.push(brokers.is_news(&problem(why)));
            brokers.next();
        }
        assert_eq!(told, [true, true, false, false, true]);
    }
}
