//! The parameters of a task, as they stand in the query of its URL.

use super::wire::{MODULE_TYPE, PAYLOAD_TYPE};
use crate::task::wasm::ModuleId;
use crate::task::{Kernels, Program, Work};
use std::time::Duration;

/// Deadlines beyond this (one year, in seconds) are refused: they are slips of the unit.
pub(crate) const MAX_DEADLINE_S: f64 = 366.0 * 86_400.0;

/// Every parameter that a task may have.
pub(crate) const PARAMETERS: [&str; 7] = [
    "kernel",
    "size",
    "kernels",
    "seed",
    "module",
    "module_bytes",
    "deadline_s",
];

/// The parameters of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQuery {
    /// What to compute.
    pub asked: Asked,
    /// Time the task has left when it is sent; `None` means that no deadline was given.
    pub deadline: Option<Duration>,
}

/// What a server is asked to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Built-in kernels, on the input made from the seed and the body.
    Kernels(Kernels, u64),
    /// A module the server has compiled before, on the body.
    Known(ModuleId),
    /// The module that the body begins with, on what follows it.
    Sent(SentModule),
}

/// A module in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentModule {
    /// Its SHA-256, to be compared with what arrived, if the client says it.
    pub id: Option<ModuleId>,
    /// Its length in bytes; `None`: it is the whole body, and the payload is empty.
    pub bytes: Option<usize>,
}

impl Asked {
    /// What is asked for `work`; a module by its name alone, since the server may have it.
    pub fn of(work: &Work) -> Self {
        match &work.program {
            Program::Kernels(kernels) => Self::Kernels(kernels.clone(), work.seed),
            Program::Module(binary) => Self::Known(binary.id()),
        }
    }

    /// The type of the body.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Kernels(..) | Self::Known(_) => PAYLOAD_TYPE,
            Self::Sent(_) => MODULE_TYPE,
        }
    }
}

impl TaskQuery {
    /// The query that says all this, such as `kernel=sha256&size=12&seed=5&deadline_s=0.4`.
    pub fn to_query(&self) -> String {
        let mut query = match &self.asked {
            Asked::Kernels(kernels, seed) => match kernels.steps() {
                [one] => format!("kernel={}&size={}&seed={seed}", one.kernel, one.rounds),
                _ => format!("kernels={}&seed={seed}", kernels.to_string().replace(' ', "+")),
            },
            Asked::Known(id) => format!("module={id}"),
            Asked::Sent(SentModule { id, bytes }) => {
                let id = id.map(|id| format!("module={id}"));
                let bytes = bytes.map(|bytes| format!("module_bytes={bytes}"));
                id.into_iter().chain(bytes).collect::<Vec<_>>().join("&")
            }
        };
        if let Some(deadline) = self.deadline {
            let and = if query.is_empty() { "" } else { "&" };
            query += &format!("{and}deadline_s={}", deadline.as_secs_f64());
        }
        query
    }

    /// Reads decoded pairs; `has_module` when the body's type is [`MODULE_TYPE`]. The error is a sentence that names
    /// the parameter.
    pub fn from_pairs(pairs: &[(String, String)], has_module: bool) -> Result<Self, String> {
        reject_unknown(pairs)?;
        let asked = if has_module {
            allow_only(pairs, &["module", "module_bytes"], "a module in the body")?;
            Asked::Sent(SentModule {
                id: optional(pairs, "module").map(parse_id).transpose()?,
                bytes: optional(pairs, "module_bytes").map(parse_bytes).transpose()?,
            })
        } else if let Some(id) = optional(pairs, "module") {
            allow_only(pairs, &["module"], "`module`")?;
            Asked::Known(parse_id(id)?)
        } else {
            let seed = |pairs| parse_u64("seed", required(pairs, "seed")?);
            Asked::Kernels(kernels(pairs)?, seed(pairs)?)
        };
        let deadline = optional(pairs, "deadline_s").map(parse_deadline).transpose()?;
        Ok(Self { asked, deadline })
    }
}

/// The steps, in whichever of the two ways they are given.
fn kernels(pairs: &[(String, String)]) -> Result<Kernels, String> {
    let Some(list) = optional(pairs, "kernels") else {
        allow_only(pairs, &["kernel", "size", "seed"], "`kernel`")?;
        let kernel = required(pairs, "kernel")?;
        let kernel = kernel.parse().map_err(|e| format!("parameter `kernel`: {e}"))?;
        return Ok(Kernels::one(kernel, parse_u64("size", required(pairs, "size")?)?));
    };
    allow_only(pairs, &["kernels", "seed"], "`kernels`")?;
    list.parse().map_err(|e| format!("parameter `kernels`: {e}"))
}

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

/// Only these, and a deadline, make sense beside what is asked for.
fn allow_only(pairs: &[(String, String)], allowed: &[&str], beside: &str) -> Result<(), String> {
    let stray = pairs
        .iter()
        .find(|(name, _)| name != "deadline_s" && !allowed.contains(&name.as_str()));
    match stray {
        Some((name, _)) => Err(format!("parameter `{name}` cannot stand beside {beside}")),
        None => Ok(()),
    }
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

fn parse_id(value: &str) -> Result<ModuleId, String> {
    value.parse().map_err(|e| format!("parameter `module`: {e}"))
}

fn parse_bytes(value: &str) -> Result<usize, String> {
    usize::try_from(parse_u64("module_bytes", value)?)
        .map_err(|_| "parameter `module_bytes` is larger than any body".to_owned())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::task::Kernel;

    const ID: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn pairs(query: &str) -> Vec<(String, String)> {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap();
            (name.to_owned(), value.replace('+', " "))
        };
        query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(pair)
            .collect()
    }

    #[test]
    fn a_query_survives_the_round_trip() {
        let id = ModuleId::of(b"abc");
        let mut all = vec![Asked::Known(id)];
        for (id, bytes) in [
            (None, None),
            (Some(id), None),
            (None, Some(7)),
            (Some(id), Some(0)),
        ] {
            all.push(Asked::Sent(SentModule { id, bytes }));
        }
        for kernel in Kernel::ALL {
            all.push(Asked::Kernels(Kernels::one(*kernel, u64::MAX), 5));
            let several = format!("{kernel}:{} fft:0 {kernel}:1", u64::MAX);
            all.push(Asked::Kernels(several.parse().unwrap(), u64::MAX));
        }
        for asked in all {
            for deadline in [None, Some(Duration::from_micros(400_250))] {
                let asked = asked.clone();
                let has_module = asked.content_type() == MODULE_TYPE;
                let query = TaskQuery { asked, deadline };
                assert_eq!(
                    TaskQuery::from_pairs(&pairs(&query.to_query()), has_module),
                    Ok(query)
                );
            }
        }
    }

    #[test]
    fn the_forms_are_those_of_the_documentation() {
        let query = |asked| {
            TaskQuery {
                asked,
                deadline: None,
            }
            .to_query()
        };
        let kernels = |text: &str| Asked::Kernels(text.parse().unwrap(), 5);
        assert_eq!(query(kernels("sha256:12")), "kernel=sha256&size=12&seed=5");
        assert_eq!(
            query(kernels("sha256:12 fft:3")),
            "kernels=sha256:12+fft:3&seed=5"
        );
        let id = ModuleId::of(b"abc");
        assert_eq!(query(Asked::Known(id)), format!("module={ID}"));
        let sent = Asked::Sent(SentModule {
            id: Some(id),
            bytes: Some(1274),
        });
        assert_eq!(query(sent), format!("module={ID}&module_bytes=1274"));
    }

    #[test]
    fn a_bad_parameter_is_named() {
        let cases = [
            ("", "`kernel` is missing"),
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
            ("module=abc", "`module`: \"abc\" is no SHA-256"),
            (
                &format!("module={ID}&seed=1"),
                "`seed` cannot stand beside `module`",
            ),
            (&format!("module={ID}&kernel=fft"), "`kernel` cannot stand beside"),
            (
                &format!("module={ID}&module_bytes=1"),
                "`module_bytes` cannot stand",
            ),
            (
                "kernel=sha256&size=1&seed=2&module_bytes=1",
                "`module_bytes` cannot stand beside `kernel`",
            ),
        ];
        for (query, expected) in cases {
            let error = TaskQuery::from_pairs(&pairs(query), false).unwrap_err();
            assert!(error.contains(expected), "{query}: {error}");
        }
        let cases = [
            (
                "kernel=sha256&size=1&seed=2",
                "`kernel` cannot stand beside a module",
            ),
            ("seed=2", "`seed` cannot stand beside a module"),
            ("module_bytes=-1", "`module_bytes` is \"-1\""),
            ("module=00", "`module`: \"00\" is no SHA-256"),
        ];
        for (query, expected) in cases {
            let error = TaskQuery::from_pairs(&pairs(query), true).unwrap_err();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }
}
