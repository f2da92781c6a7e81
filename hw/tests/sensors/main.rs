//! The sensors on made-up boards, with good input and bad.

#![allow(clippy::unwrap_used)] // in tests, helpers included

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod blocking;
mod boards;
mod corpus;
mod cpufreq;
mod hwmon;
mod ina3221;
mod load_models;
mod nvml;
mod perf_rapl;
mod power_supply;
mod powercap;
mod random_input;
mod realtime;
mod replay;
mod rpi_pmic;
mod tegrastats;
