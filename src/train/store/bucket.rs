//! Learners in a bucket of S3, or of a server that speaks like it: where it is, and how to get in.
//!
//! What is not in the URL is in the environment, as for every program that uses S3: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` and `AWS_CA_BUNDLE`. Proxies are not
//! used.

use super::{Store, StoreError};
use crate::offload::access::AccessError;
use crate::offload::url::{Url, UrlError};
use object_store::ObjectStore;
use object_store::path::Path as Key;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// `s3://BUCKET[/PREFIX]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    bucket: Box<str>,
    prefix: Key,
}

/// Why there can be no learners in this bucket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// This is no bucket.
    #[error("{0:?} is no bucket: write s3://BUCKET or s3://BUCKET/PREFIX")]
    Url(String),
    /// The program was built without it.
    #[error("cannot use {0}: this build knows folders only; build hwmeter with `--features s3`")]
    NotBuilt(BucketUrl),
    /// It is not known who asks.
    #[error("cannot use {0}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    NoKeys(BucketUrl),
    /// There is no such server.
    #[error("the address in AWS_ENDPOINT_URL cannot be used: {0}")]
    Endpoint(#[from] UrlError),
    /// Everybody on the way could read and change the learners.
    #[error("AWS_ENDPOINT_URL={0} is another machine without TLS: use https://")]
    NotEncrypted(Url),
    /// Whom to trust cannot be found out.
    #[error(transparent)]
    Trust(#[from] AccessError),
    /// The HTTP client or its settings.
    #[error("cannot use {url}: {why}")]
    Settings {
        /// Which bucket.
        url: BucketUrl,
        /// What is wrong with them.
        why: String,
    },
}

/// A bucket of which nothing was asked yet. It has no thread, so that it can be made before a sandbox is entered.
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    endpoint: Url,
}

impl Bucket {
    /// As the environment says.
    pub fn open(url: &BucketUrl) -> Result<Self, BucketError> {
        let (objects, endpoint) = client::open(url)?;
        Ok(Self { objects, endpoint })
    }

    /// The TCP port of its server.
    pub fn port(&self) -> u16 {
        self.endpoint.port()
    }

    /// Whether its server has a name that must be looked up.
    pub fn has_name(&self) -> bool {
        self.endpoint.host().parse::<IpAddr>().is_err()
    }

    /// The learners in it.
    pub fn store(&self) -> Result<Store, StoreError> {
        Store::objects(Arc::clone(&self.objects))
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        match self.prefix.as_ref() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

impl FromStr for BucketUrl {
    type Err = BucketError;

    fn from_str(text: &str) -> Result<Self, BucketError> {
        let fail = || BucketError::Url(text.to_owned());
        let rest = text.strip_prefix("s3://").ok_or_else(fail)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_name) || prefix.starts_with('/') {
            return Err(fail());
        }
        Ok(Self {
            bucket: bucket.into(),
            prefix: Key::parse(prefix.trim_end_matches('/')).map_err(|_| fail())?,
        })
    }
}

#[cfg(not(feature = "s3"))]
mod client {
    use super::{Arc, BucketError, BucketUrl, ObjectStore, Url};

    pub fn open(url: &BucketUrl) -> Result<(Arc<dyn ObjectStore>, Url), BucketError> {
        Err(BucketError::NotBuilt(url.clone()))
    }
}

#[cfg(feature = "s3")]
mod client {
    use super::{Arc, BucketError, BucketUrl, ObjectStore, Url};
    use crate::offload::tls;
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::client::{HttpClient, HttpConnector};
    use object_store::prefix::PrefixStore;
    use object_store::{ClientOptions, RetryConfig};
    use reqwest::redirect::Policy;
    use rustls::ClientConfig;
    use std::path::PathBuf;
    use std::time::Duration;

    /// How long the server may take to be there.
    const CONNECT_TIME: Duration = Duration::from_secs(3);
    /// How long a request may take, with a learner in it.
    const REQUEST_TIME: Duration = Duration::from_secs(20);
    /// A request is tried again so often at once; after that the trainer does it, less often.
    const RETRIES: usize = 2;

    pub fn open(url: &BucketUrl) -> Result<(Arc<dyn ObjectStore>, Url), BucketError> {
        let failed = |why: String| BucketError::Settings {
            url: url.clone(),
            why,
        };
        let settings = AmazonS3Builder::from_env().with_bucket_name(&*url.bucket);
        let has = |key| settings.get_config_value(&key).is_some();
        if !has(AmazonS3ConfigKey::AccessKeyId) || !has(AmazonS3ConfigKey::SecretAccessKey) {
            return Err(BucketError::NoKeys(url.clone()));
        }
        let endpoint = endpoint(&settings)?;
        let http = http_client(&endpoint)?.map_err(|error| failed(error.to_string()))?;
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: REQUEST_TIME,
            ..RetryConfig::default()
        };
        let objects = settings
            .with_allow_http(!endpoint.is_https())
            .with_retry(retry)
            .with_http_connector(Connector(http))
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let objects = PrefixStore::new(objects, url.prefix.clone());
        Ok((Arc::new(objects), endpoint))
    }

    fn endpoint(settings: &AmazonS3Builder) -> Result<Url, BucketError> {
        let value = |key| settings.get_config_value(&key);
        let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
        // Which of Amazon's hosts it is, depends on region and bucket.
        let endpoint: Url = endpoint
            .as_deref()
            .unwrap_or("https://s3.amazonaws.com")
            .parse()?;
        match endpoint.is_https() || endpoint.is_loopback() {
            true => Ok(endpoint),
            false => Err(BucketError::NotEncrypted(endpoint)),
        }
    }

    /// With the same TLS as everything else here.
    fn http_client(endpoint: &Url) -> Result<reqwest::Result<reqwest::Client>, BucketError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            // What was signed for one host is refused by another.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIME)
            .timeout(REQUEST_TIME)
            .tls_backend_preconfigured(tls_config(endpoint)?);
        Ok(client.build())
    }

    fn tls_config(endpoint: &Url) -> Result<ClientConfig, BucketError> {
        if !endpoint.is_https() {
            return Ok(tls::trusting_nobody()?);
        }
        let ca = std::env::var_os("AWS_CA_BUNDLE").map(PathBuf::from);
        Ok(tls::builder(ca.as_deref())?.with_no_client_auth())
    }

    #[derive(Debug)]
    struct Connector(reqwest::Client);

    impl HttpConnector for Connector {
        fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(self.0.clone()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_prefix_are_told_apart_and_shown_as_they_were_written() {
        for text in ["s3://learners", "s3://learners/site-1", "s3://a.b/c/d"] {
            assert_eq!(text.parse::<BucketUrl>().unwrap().to_string(), text);
        }
        let url: BucketUrl = "s3://learners/site/".parse().unwrap();
        assert_eq!((&*url.bucket, url.prefix.as_ref()), ("learners", "site"));
    }

    #[test]
    fn what_is_no_bucket_is_told() {
        for text in [
            "",
            "learners",
            "s3://",
            "s3:///x",
            "s3://a b",
            "s3://a?b/c",
            "s3://a//b",
            "s3://a/../b",
        ] {
            let error = text.parse::<BucketUrl>().unwrap_err().to_string();
            assert!(error.contains("s3://BUCKET"), "{text}: {error}");
        }
    }
}
