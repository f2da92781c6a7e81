//! What client and server say to each other.
//!
//! ```text
//! POST /v1/tasks?kernel=sha256&size=12&seed=5&deadline_s=0.4   body: the payload   -> TaskResult
//! POST /v1/tasks?kernels=sha256:12+fft:3&seed=5                the same, several steps
//! POST /v1/tasks?module_bytes=1274         application/wasm     body: a module, then the payload
//! POST /v1/tasks?module=SHA256             a module sent before, body: the payload
//! GET  /v1/load                                                                    -> Load
//! GET  /v1/training                                                                -> Training
//! GET  /healthz                                                                    -> Health
//! GET  /metrics                                                                    -> Prometheus text format
//! GET  /openapi.json                                                               -> all of this, for programs
//! ```
//!
//! What to compute is either one kernel and its number of rounds (`kernel`, `size`) or a list of steps (`kernels`,
//! separated by spaces, which a query writes as `+` or `%20`); the checksum of one step seeds the next. Or it is a
//! WebAssembly module: sent in the body, without `module_bytes` all of it, or named by its SHA-256. A server that does
//! not have it, or not any more, says [`CODE_MODULE_UNKNOWN`]; the client then sends it.
//!
//! Every error is an [`ErrorBody`] with a fitting status. Both sides use the types and the query of this file,
//! so they cannot drift apart.

pub use super::task_query::{Asked, SentModule, TaskQuery};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// Where tasks are posted.
pub const TASKS_PATH: &str = "/v1/tasks";
/// Where a server tells its load.
pub const LOAD_PATH: &str = "/v1/load";
/// Where a MEC tells how to reach its trainer.
pub const TRAINING_PATH: &str = "/v1/training";
/// Where a server says that it is well.
pub const HEALTH_PATH: &str = "/healthz";
/// Where a server tells what it has counted.
pub const METRICS_PATH: &str = "/metrics";
/// Where a server describes all of this.
pub const OPENAPI_PATH: &str = "/openapi.json";
/// The type of a body that is a payload.
pub const PAYLOAD_TYPE: &str = "application/octet-stream";
/// The type of a body that begins with a WebAssembly module.
pub const MODULE_TYPE: &str = "application/wasm";

/// The code of the error that says a task's deadline passed before it was done.
pub const CODE_DEADLINE: &str = "deadline_passed";
/// The code of the error that says there is no room for another task.
pub const CODE_QUEUE_FULL: &str = "queue_full";
/// The code of the error that says that the server has no module of this SHA-256.
pub const CODE_MODULE_UNKNOWN: &str = "module_unknown";

/// The code of the error that says that no learners are trained here.
pub const CODE_NO_TRAINING: &str = "no_training";

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

/// Where learners are trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Training {
    /// The MQTT broker, `mqtt://HOST:PORT` or `mqtts://HOST:PORT`.
    pub broker: String,
}

/// Every error a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What programs react to, such as `queue_full`.
    pub code: String,
    /// What people read: what failed and what to do.
    pub message: String,
}

impl ErrorBody {
    /// From the body of an answer, if it is one. A server is not to be trusted with a terminal or a file: control
    /// characters are escaped, and what is too long is cut.
    pub fn read(body: &[u8]) -> Option<Self> {
        const CODE: usize = 40;
        const MESSAGE: usize = 500;
        let Self { code, message } = serde_json::from_slice(body).ok()?;
        Some(Self {
            code: harmless(&code, CODE),
            message: harmless(&message, MESSAGE),
        })
    }
}

/// The first characters of a text from outside, on one line and without control characters.
pub(super) fn harmless(text: &str, longest: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().take(longest) {
        // Those that turn the direction of the text are no controls to Unicode, but do as much harm.
        match character {
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(character.escape_unicode());
            }
            _ if character.is_control() => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    if text.chars().nth(longest).is_some() {
        shown.push_str("...");
    }
    shown
}

/// The hash that proves that a payload arrived unchanged.
pub fn payload_hash(payload: &[u8]) -> u64 {
    XxHash3_64::oneshot(payload)
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
    fn what_a_server_says_cannot_reach_the_terminal() {
        let evil = "\u{1b}[2J\u{1b}]0;PWNED\u{7}evil\nsecond line\u{202e}\u{9b}";
        let body =
            serde_json::json!({ "code": evil.repeat(2), "message": format!("größer {}", evil.repeat(100)) });
        let read = ErrorBody::read(body.to_string().as_bytes()).unwrap();
        for text in [&read.code, &read.message] {
            assert!(
                !text.chars().any(char::is_control) && !text.contains('\u{202e}'),
                "{text}"
            );
            assert!(text.contains("\\u{1b}[2J") && text.ends_with("..."), "{text}");
        }
        assert!(read.code.len() < 200 && read.message.len() < 5000 && read.message.starts_with("größer "));
        let plain = r#"{"code":"queue_full","message":"all workers are busy"}"#;
        assert_eq!(ErrorBody::read(plain.as_bytes()).unwrap().code, "queue_full");
        assert_eq!(ErrorBody::read(b"no JSON"), None);
    }

    #[test]
    fn the_hash_is_the_published_xxh3() {
        // XXH3_64bits of the empty input, from the reference implementation's test vectors.
        assert_eq!(payload_hash(b""), 0x2D06_8005_38D3_94C2);
    }
}
