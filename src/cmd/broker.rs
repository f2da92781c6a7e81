//! `--broker` and what goes with it, as a link.

use crate::cli::BrokerArgs;
use anyhow::bail;
use hwmeter::serve::TlsFiles;
use hwmeter::train::link::{BrokerUrls, Credentials, LinkConfig};
use std::ffi::OsStr;
use std::process::Command;

impl BrokerArgs {
    /// No secret is on the command line.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut urls = self.broker.iter().flat_map(BrokerUrls::iter);
        if urls.any(|url| url.credentials().is_some()) {
            bail!(
                "every user of this machine sees a password on the command line: use --broker-user and \
                 --broker-password-file"
            );
        }
        Ok(())
    }

    /// The brokers that were named, if any were, for a process that has its own otherwise.
    pub fn urls(&self) -> anyhow::Result<Option<&BrokerUrls>> {
        self.check()?;
        let goes_with_it = [&self.broker_ca, &self.broker_password_file, &self.broker_cert];
        if self.broker.is_none() && goes_with_it.into_iter().any(Option::is_some) {
            bail!(
                "--broker-ca, --broker-user and --broker-cert say how to connect to the broker of --broker URL, which \
                 is missing"
            );
        }
        Ok(self.broker.as_ref())
    }

    /// How to connect to a broker as these options say.
    pub fn link(&self, urls: &BrokerUrls, client_id: impl Into<String>) -> anyhow::Result<LinkConfig> {
        let mut link = LinkConfig::to_any_of(urls.clone(), client_id);
        link.ca.clone_from(&self.broker_ca);
        if let Some((user, file)) = self.broker_user.as_ref().zip(self.broker_password_file.as_ref()) {
            link.credentials = Some(Credentials::read(user, file)?);
        }
        link.identity = self
            .broker_cert
            .clone()
            .zip(self.broker_key.clone())
            .map(|(cert, key)| TlsFiles { cert, key });
        Ok(link)
    }

    /// Gives the same options to another process of ours.
    pub fn pass_on(&self, command: &mut Command) {
        let urls = self.broker.as_ref().map(BrokerUrls::to_string);
        let options: [(&str, Option<&OsStr>); 6] = [
            ("--broker", urls.as_deref().map(OsStr::new)),
            ("--broker-ca", self.broker_ca.as_deref().map(OsStr::new)),
            ("--broker-user", self.broker_user.as_deref().map(OsStr::new)),
            (
                "--broker-password-file",
                self.broker_password_file.as_deref().map(OsStr::new),
            ),
            ("--broker-cert", self.broker_cert.as_deref().map(OsStr::new)),
            ("--broker-key", self.broker_key.as_deref().map(OsStr::new)),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                command.arg(name).arg(value);
            }
        }
    }
}
