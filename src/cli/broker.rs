//! The options that name a broker and say who we are to it.

use clap::Args;
use hwmeter::train::link::BrokerUrls;
use std::path::PathBuf;

/// A broker, and as whom to connect to it.
#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// The MQTT broker to use: mqtt://HOST[:PORT], or mqtts://HOST[:PORT] for TLS; or several, separated by commas, of
    /// which the next is used when one does not answer
    #[arg(long, value_name = "URL[,URL...]")]
    pub broker: Option<BrokerUrls>,

    /// PEM file of the authority that signed the certificate of an mqtts broker [default: those this system trusts]
    #[arg(long, value_name = "FILE")]
    pub broker_ca: Option<PathBuf>,

    /// Who we are for that broker
    #[arg(long, value_name = "NAME", requires = "broker_password_file")]
    pub broker_user: Option<String>,

    /// File with the password for that. Must not be readable by everybody
    #[arg(long, value_name = "FILE", requires = "broker_user")]
    pub broker_password_file: Option<PathBuf>,

    /// Our certificate for that broker (PEM)
    #[arg(long, value_name = "FILE", requires = "broker_key")]
    pub broker_cert: Option<PathBuf>,

    /// Its private key (PEM). Must not be readable by everybody
    #[arg(long, value_name = "FILE", requires = "broker_cert")]
    pub broker_key: Option<PathBuf>,
}
