//! What client and server say to each other.
//!
//! ```text
//! POST /v1/tasks?kernel=sha256&size=12&seed=5&deadline_s=0.4   body: the payload   -> TaskResult
//! POST /v1/tasks?kernels=sha256:12+fft:3&seed=5                the same, several steps
//! GET  /v1/load                                                                    -> Load
//! GET  /healthz                                                                    -> Health
//! GET  /metrics                                                                    -> Prometheus text format
//! GET  /openapi.json                                                               -> all of this, for programs
//! ```
//!
//! What to compute is either one kernel and its number of rounds (`kernel`, `size`) or a list of steps (`kernels`,
//! separated by spaces, which a query writes as `+` or `%20`); the checksum of one step seeds the next.
//!
//! Every error is an [`ErrorBody`] with a fitting status. Both sides use the types and the query of this file,
//! so they cannot drift apart.

use crate::task::{Kernels, Program, Work};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Where tasks are posted.
pub const TASKS_PATH: &str = "/v1/tasks";
/// Where a server tells its load.
pub const LOAD_PATH: &str = "/v1/load";
/// Where a server says that it is well.
pub const HEALTH_PATH: &str = "/healthz";
/// Where a server tells what it has counted.
pub const METRICS_PATH: &str = "/metrics";
/// Where a server describes all of this.
pub const OPENAPI_PATH: &str = "/openapi.json";
/// The type of a payload for a built-in kernel.
pub const PAYLOAD_TYPE: &str = "application/octet-stream";

/// The code of the error that says a task's deadline passed before it was done.
pub const CODE_DEADLINE: &str = "deadline_passed";
/// The code of the error that says there is no room for another task.
pub const CODE_QUEUE_FULL: &str = "queue_full";

/// Deadlines beyond this (one year, in seconds) are refused: they are slips of the unit.
pub(crate) const MAX_DEADLINE_S: f64 = 366.0 * 86_400.0;

/// The answer to a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// What the kernel computed, as 16 hexadecimal digits on the wire (JSON numbers end at 2^53).
    #[serde(with = "hex64")]
    pub checksum: u64,
    /// XXH3-64 of the payload as it arrived, also hexadecimal.
    #[serde(with = "hex64")]
    pub payload_hash: u64,
    /// Seconds from the first to the last read of the body, as the server saw it; 0 if one read brought it all.
    pub receive_s: f64,
    /// Bytes that came with the reads after the first: what `receive_s` was needed for.
    pub receive_bytes: u64,
    /// Seconds the task waited for a worker.
    pub queue_s: f64,
    /// Seconds it ran.
    pub execute_s: f64,
}

/// How busy a server is. What is smoothed is so exponentially, over about half a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Share of the machine's CPU in use, 0 to 1, smoothed.
    pub cpu_use: f64,
    /// Share of the CPU that is free: `1 - cpu_use`.
    pub free: f64,
    /// Share of the CPU in use over the latest 0.15 s alone.
    pub cpu_use_now: f64,
    /// `1 - cpu_use_now`.
    pub free_now: f64,
    /// Tasks waiting for a worker now.
    pub queue: usize,
    /// Tasks waiting for a worker, smoothed.
    pub queue_smoothed: f64,
    /// Tasks running.
    pub running: usize,
    /// Tasks that may run at once.
    pub workers: usize,
}

/// The answer to a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// `mec` or `cloud`.
    pub role: String,
    /// The version of the server.
    pub version: String,
}

/// Every error a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What programs react to, such as `queue_full`.
    pub code: String,
    /// What people read: what failed and what to do.
    pub message: String,
}

/// The parameters of a task, as they stand in the query of its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQuery {
    /// What to compute.
    pub work: Work,
    /// Time the task has left when it is sent; `None` means that no deadline was given.
    pub deadline: Option<Duration>,
}

impl TaskQuery {
    /// `kernel=...&size=...&seed=...&deadline_s=...`, or `kernels=...` for several steps.
    pub fn to_query(&self) -> String {
        let Program::Kernels(kernels) = &self.work.program;
        let mut query = match kernels.steps() {
            [one] => format!("kernel={}&size={}", one.kernel, one.rounds),
            _ => format!("kernels={}", kernels.to_string().replace(' ', "+")),
        };
        query += &format!("&seed={}", self.work.seed);
        if let Some(deadline) = self.deadline {
            query += &format!("&deadline_s={}", deadline.as_secs_f64());
        }
        query
    }

    /// Reads decoded pairs; the error is a sentence that names the parameter.
    pub fn from_pairs(pairs: &[(String, String)]) -> Result<Self, String> {
        reject_unknown(pairs)?;
        let work = Work {
            program: Program::Kernels(kernels(pairs)?),
            seed: parse_u64("seed", required(pairs, "seed")?)?,
        };
        let deadline = optional(pairs, "deadline_s").map(parse_deadline).transpose()?;
        Ok(Self { work, deadline })
    }
}

/// The hash that proves that a payload arrived unchanged.
pub fn payload_hash(payload: &[u8]) -> u64 {
    xxh3_64(payload)
}

/// The steps, in whichever of the two ways they are given.
fn kernels(pairs: &[(String, String)]) -> Result<Kernels, String> {
    let Some(list) = optional(pairs, "kernels") else {
        let kernel = required(pairs, "kernel")?;
        let kernel = kernel.parse().map_err(|e| format!("parameter `kernel`: {e}"))?;
        return Ok(Kernels::one(kernel, parse_u64("size", required(pairs, "size")?)?));
    };
    if let Some(other) = ["kernel", "size"]
        .iter()
        .find(|name| optional(pairs, name).is_some())
    {
        return Err(format!("parameter `{other}` cannot stand beside `kernels`"));
    }
    list.parse().map_err(|e| format!("parameter `kernels`: {e}"))
}

/// Every parameter that a task may have.
pub(crate) const PARAMETERS: [&str; 5] = ["kernel", "size", "kernels", "seed", "deadline_s"];

fn reject_unknown(pairs: &[(String, String)]) -> Result<(), String> {
    for (at, (name, _)) in pairs.iter().enumerate() {
        if !PARAMETERS.contains(&name.as_str()) {
            return Err(format!(
                "parameter `{name}` is unknown; known are {}",
                PARAMETERS.join(", ")
            ));
        }
        if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("parameter `{name}` is given twice"));
        }
    }
    Ok(())
}

fn optional<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

fn required<'a>(pairs: &'a [(String, String)], name: &str) -> Result<&'a str, String> {
    optional(pairs, name).ok_or_else(|| format!("parameter `{name}` is missing"))
}

fn parse_u64(name: &str, value: &str) -> Result<u64, String> {
    value
        .parse()
        .map_err(|_| format!("parameter `{name}` is {value:?}, expected a whole number from 0 to 2^64-1"))
}

fn parse_deadline(value: &str) -> Result<Duration, String> {
    let seconds = value
        .parse::<f64>()
        .ok()
        .filter(|&s| s > 0.0 && s <= MAX_DEADLINE_S);
    let seconds = seconds.ok_or_else(|| {
        format!("parameter `deadline_s` is {value:?}, expected seconds, more than 0 and less than a year")
    })?;
    Ok(Duration::from_secs_f64(seconds))
}

/// A `u64` as 16 hexadecimal digits.
mod hex64 {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use std::borrow::Cow;

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        // `from_str_radix` alone would also take a sign or fewer digits.
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::custom(format!("{text:?} is not 16 hexadecimal digits")));
        }
        u64::from_str_radix(&text, 16).map_err(Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::task::Kernel;

    fn pairs(query: &str) -> Vec<(String, String)> {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap();
            (name.to_owned(), value.replace('+', " "))
        };
        query.split('&').map(pair).collect()
    }

    #[test]
    fn a_query_survives_the_round_trip() {
        for &kernel in Kernel::ALL {
            for deadline in [None, Some(Duration::from_micros(400_250))] {
                let several = format!("{kernel}:{} fft:0 {kernel}:1", u64::MAX);
                for program in [Kernels::one(kernel, u64::MAX), several.parse().unwrap()] {
                    let query = TaskQuery {
                        work: Work {
                            program: Program::Kernels(program),
                            seed: 5,
                        },
                        deadline,
                    };
                    assert_eq!(TaskQuery::from_pairs(&pairs(&query.to_query())), Ok(query));
                }
            }
        }
    }

    #[test]
    fn the_forms_are_those_of_the_documentation() {
        let query = |program: &str| {
            let program = Program::Kernels(program.parse().unwrap());
            let work = Work { program, seed: 5 };
            TaskQuery { work, deadline: None }.to_query()
        };
        assert_eq!(query("sha256:12"), "kernel=sha256&size=12&seed=5");
        assert_eq!(query("sha256:12 fft:3"), "kernels=sha256:12+fft:3&seed=5");
    }

    #[test]
    fn a_bad_parameter_is_named() {
        let cases = [
            ("size=1&seed=2", "`kernel` is missing"),
            ("kernel=sha256&seed=2", "`size` is missing"),
            ("kernel=sha256&size=1", "`seed` is missing"),
            (
                "kernel=sha999&size=1&seed=2",
                "`kernel`: there is no kernel \"sha999\"",
            ),
            ("kernel=sha256&size=-1&seed=2", "`size` is \"-1\""),
            (
                "kernel=sha256&size=1&seed=99999999999999999999",
                "`seed` is \"99999999999999999999\"",
            ),
            ("kernel=sha256&size=1&seed=2&deadline_s=NaN", "`deadline_s`"),
            ("kernel=sha256&size=1&seed=2&deadline_s=0", "`deadline_s`"),
            ("kernel=sha256&size=1&seed=2&deadline_s=inf", "`deadline_s`"),
            ("kernel=sha256&size=1&seed=2&deadline_s=1e300", "`deadline_s`"),
            ("kernel=sha256&size=1&seed=2&deadline=1", "`deadline` is unknown"),
            ("kernel=sha256&size=1&size=1&seed=2", "`size` is given twice"),
            ("kernels=sha256:1&seed=2&size=3", "`size` cannot stand beside"),
            (
                "kernels=sha256:1&seed=2&kernel=fft",
                "`kernel` cannot stand beside",
            ),
            ("kernels=&seed=2", "`kernels`: 0 steps"),
            ("kernels=sha256&seed=2", "`kernels`: \"sha256\" is no step"),
            ("kernels=sha256:1", "`seed` is missing"),
        ];
        for (query, expected) in cases {
            let error = TaskQuery::from_pairs(&pairs(query)).unwrap_err();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }

    #[test]
    fn numbers_beyond_2_53_keep_every_bit() {
        let result = TaskResult {
            checksum: u64::MAX - 1,
            payload_hash: 7,
            receive_s: 0.0,
            receive_bytes: 0,
            queue_s: 0.1,
            execute_s: 0.2,
        };
        let json = serde_json::to_string(&result).unwrap();
        assert!(json.contains("\"fffffffffffffffe\""), "{json}");
        assert_eq!(serde_json::from_str::<TaskResult>(&json).unwrap(), result);
        for bad in [
            "+000000000000007",
            "7",
            "",
            "000000000000000g",
            "00000000000000007",
        ] {
            let json = json.replace("0000000000000007", bad);
            assert!(serde_json::from_str::<TaskResult>(&json).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_is_the_published_xxh3() {
        // XXH3_64bits of the empty input, from the reference implementation's test vectors.
        assert_eq!(payload_hash(b""), 0x2D06_8005_38D3_94C2);
    }
}
