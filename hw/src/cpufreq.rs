//! Frequency governor and limits of the CPU, changed for a while and restored.
//!
//! Format, from `Documentation/admin-guide/pm/cpufreq.rst`: `/sys/devices/system/cpu/cpufreq/policyM/` with
//! `related_cpus`, `scaling_governor`, `scaling_available_governors`, and in kHz `scaling_min_freq`, `scaling_max_freq`,
//! `cpuinfo_min_freq`, `cpuinfo_max_freq`.
//!
//! What was changed is restored when the [`Frequencies`] are dropped, by a panic too. A signal runs no destructors: a
//! program that changes frequencies watches for SIGINT and SIGTERM and calls [`restore_all`] when one comes, as
//! `hwmeter` does. While one thread changes or restores, all others wait: none ends the process halfway through.

use crate::error::{Error, ErrorKind, Result};
use crate::root::Root;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const POLICIES_DIR: &str = "/sys/devices/system/cpu/cpufreq";
const GOVERNOR: &str = "scaling_governor";
const MIN: &str = "scaling_min_freq";
const MAX: &str = "scaling_max_freq";

/// CPUs that share a clock, and how it is governed.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Policy {
    /// Its directory's name, such as `policy0`.
    pub name: String,
    /// The CPUs that share it, offline ones included.
    pub cpus: Vec<usize>,
    /// The governor in force.
    pub governor: String,
    /// The governors this kernel has.
    pub available_governors: Vec<String>,
    /// Lowest frequency the governor may choose.
    pub min_khz: u64,
    /// Highest frequency the governor may choose.
    pub max_khz: u64,
    /// What the hardware can do, lowest and highest.
    pub hardware_khz: (u64, u64),
}

/// What to change; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// A governor, such as `performance`.
    pub governor: Option<String>,
    /// Lowest frequency.
    pub min_khz: Option<u64>,
    /// Highest frequency.
    pub max_khz: Option<u64>,
}

/// All policies, in order. None where there is no frequency scaling (most virtual machines).
pub fn policies(root: &Root) -> Result<Vec<Policy>> {
    let names = root.list(POLICIES_DIR)?;
    names
        .into_iter()
        .filter(|name| is_policy(name))
        .map(|name| read_policy(root, name))
        .collect()
}

fn is_policy(name: &str) -> bool {
    name.strip_prefix("policy")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn read_policy(root: &Root, name: String) -> Result<Policy> {
    let dir = Path::new(POLICIES_DIR).join(&name);
    let related = root.read_text(dir.join("related_cpus"))?;
    let malformed = || {
        Error::malformed(
            &root.path(dir.join("related_cpus")),
            related.as_bytes(),
            "CPU numbers",
        )
    };
    let cpus: Option<Vec<usize>> = related.split_whitespace().map(|cpu| cpu.parse().ok()).collect();
    let available = root
        .read_text(dir.join("scaling_available_governors"))
        .unwrap_or_default();
    Ok(Policy {
        cpus: cpus.ok_or_else(malformed)?,
        governor: root.read_text(dir.join(GOVERNOR))?,
        available_governors: available.split_whitespace().map(str::to_owned).collect(),
        min_khz: root.read_number(dir.join(MIN))?,
        max_khz: root.read_number(dir.join(MAX))?,
        hardware_khz: (
            root.read_number(dir.join("cpuinfo_min_freq"))?,
            root.read_number(dir.join("cpuinfo_max_freq"))?,
        ),
        name,
    })
}

/// Changed frequencies; dropping it puts back what was there.
#[derive(Debug)]
pub struct Frequencies {
    id: u64,
}

impl Frequencies {
    /// Changes every policy. Nothing stays changed if one of them cannot be.
    pub fn set(root: &Root, settings: &Settings) -> Result<Self> {
        let policies = policies(root)?;
        if policies.is_empty() {
            let why = "this kernel shows no frequency scaling; in a virtual machine set it on the host";
            return Err(Error::unsupported("setting CPU frequencies", why));
        }
        for policy in &policies {
            check(policy, settings)?;
        }
        let mut all = Restorer::all();
        let id = all.last().map_or(0, |last| last.id) + 1;
        let restorer = Restorer {
            id,
            root: root.clone(),
            before: policies,
        };
        if let Err(error) = restorer.change(settings) {
            // The first error is the one to tell.
            let _ = restorer.restore();
            return Err(error);
        }
        all.push(restorer);
        Ok(Self { id })
    }

    /// Puts everything back now, and says what could not be.
    pub fn restore(self) -> Result<()> {
        Restorer::restore_one(self.id)
    }
}

impl Drop for Frequencies {
    fn drop(&mut self) {
        if let Err(error) = Restorer::restore_one(self.id) {
            tracing::warn!("the CPU's frequency settings are not as they were: {error}");
        }
    }
}

/// Puts back every frequency setting that this process has changed and not restored, newest first. For the thread that
/// handles SIGINT and SIGTERM. Goes on after an error and returns the first.
pub fn restore_all() -> Result<()> {
    let mut all = Restorer::all();
    let mut outcome = Ok(());
    while let Some(restorer) = all.pop() {
        outcome = outcome.and(restorer.restore());
    }
    outcome
}

/// The values before a change.
struct Restorer {
    id: u64,
    root: Root,
    before: Vec<Policy>,
}

static RESTORERS: Mutex<Vec<Restorer>> = Mutex::new(Vec::new());

impl Restorer {
    fn all() -> MutexGuard<'static, Vec<Self>> {
        RESTORERS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing to do if it has been restored by [`restore_all`].
    fn restore_one(id: u64) -> Result<()> {
        let mut all = Self::all();
        match all.iter().position(|restorer| restorer.id == id) {
            Some(index) => all.remove(index).restore(),
            None => Ok(()),
        }
    }

    fn change(&self, settings: &Settings) -> Result<()> {
        for policy in &self.before {
            let dir = Path::new(POLICIES_DIR).join(&policy.name);
            if let Some(governor) = &settings.governor {
                self.root.write(dir.join(GOVERNOR), governor)?;
            }
            let min = settings.min_khz.unwrap_or(policy.min_khz);
            let max = settings.max_khz.unwrap_or(policy.max_khz);
            if (min, max) != (policy.min_khz, policy.max_khz) {
                write_limits(&self.root, &dir, min, max)?;
            }
        }
        Ok(())
    }

    fn restore(self) -> Result<()> {
        let mut outcome = Ok(());
        for policy in self.before {
            let dir: PathBuf = Path::new(POLICIES_DIR).join(&policy.name);
            let governor = self.root.write(dir.join(GOVERNOR), &policy.governor);
            let limits = write_limits(&self.root, &dir, policy.min_khz, policy.max_khz);
            // A CPU that went offline takes its policy with it: nothing is left to restore.
            let is_gone = |result: &Result<()>| matches!(result, Err(e) if e.kind() == ErrorKind::Gone);
            outcome = [governor, limits]
                .into_iter()
                .filter(|result| !is_gone(result))
                .fold(outcome, Result::and);
        }
        outcome
    }
}

/// The kernel refuses a minimum above the maximum at every moment, so the order of the two writes matters.
fn write_limits(root: &Root, dir: &Path, min_khz: u64, max_khz: u64) -> Result<()> {
    let current_max: u64 = root.read_number(dir.join(MAX))?;
    let (low, high) = ((MIN, min_khz), (MAX, max_khz));
    let order = if min_khz > current_max {
        [high, low]
    } else {
        [low, high]
    };
    for (file, khz) in order {
        root.write(dir.join(file), &khz.to_string())?;
    }
    Ok(())
}

/// The kernel silently moves a frequency into its range, and says only `EINVAL` about an unknown governor.
fn check(policy: &Policy, settings: &Settings) -> Result<()> {
    let refuse = |what: String, why: String| Err(Error::unsupported(what, why));
    if let Some(governor) = &settings.governor
        && !policy.available_governors.is_empty()
        && !policy.available_governors.contains(governor)
    {
        let known = policy.available_governors.join(", ");
        return refuse(
            format!("governor {governor:?}"),
            format!("{} has {known}", policy.name),
        );
    }
    let (lowest, highest) = policy.hardware_khz;
    for khz in [settings.min_khz, settings.max_khz].into_iter().flatten() {
        if khz < lowest || khz > highest {
            return refuse(
                format!("{khz} kHz"),
                format!("{} can do {lowest} to {highest} kHz", policy.name),
            );
        }
    }
    let min = settings.min_khz.unwrap_or(policy.min_khz);
    let max = settings.max_khz.unwrap_or(policy.max_khz);
    if min > max {
        return refuse(
            format!("a lowest frequency of {min} kHz"),
            format!("the highest of {} is {max} kHz", policy.name),
        );
    }
    Ok(())
}
