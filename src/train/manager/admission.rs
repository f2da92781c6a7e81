//! What a device may ask for: a learner that exists, with settings in bounds, that does not take the machine's memory.

use crate::learn::{Checkpoint, Engine, LearnerName, Settings, guard::Guard};
use crate::train::topic::Name;
use crate::train::wire::{Codec, Presence};
use clap::ValueEnum;

/// Settings are a few hundred bytes of JSON.
const MAX_SETTINGS: usize = 64 << 10;
/// Nobody has had so many experiences.
const MAX_BASE: u64 = 1 << 53;
/// Weights that one update may go through, repeated ones included: beyond, one device would hold a thread for seconds.
const MAX_UPDATE: f64 = 1e9;
/// Bytes of a parameter: itself and two moments, or itself and its trace, and a copy for the target.
const PARAMETER_BYTES: f64 = 16.0;
/// Bytes of a transition that is kept to be learned from again.
const TRANSITION_BYTES: f64 = 96.0;

/// How a learner is made.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    name: LearnerName,
    settings: Settings,
    seed: u64,
    reset_on_divergence: bool,
}

impl Recipe {
    /// What a Presence asks for, or why it cannot be had, in a sentence for the device.
    pub fn of(learner: &Name, presence: &Presence, engine: Engine, max_bytes: usize) -> Result<Self, String> {
        let name = LearnerName::from_str(learner.as_str(), false)
            .map_err(|_| format!("this trainer knows no learner {learner}"))?;
        if !engine.has(name) {
            return Err(format!("this trainer's engine has no learner {name}"));
        }
        if presence.base_sequence > MAX_BASE {
            return Err(format!(
                "{} is no number of an experience",
                presence.base_sequence
            ));
        }
        if presence.settings.len() > MAX_SETTINGS {
            let bytes = presence.settings.len();
            return Err(format!(
                "settings of {bytes} bytes: at most {MAX_SETTINGS} are taken"
            ));
        }
        if Codec::try_from(presence.codec).is_err() {
            return Err(format!("this trainer knows no codec {}", presence.codec));
        }
        let settings = match presence.settings.is_empty() {
            true => Settings::default(),
            false => serde_json::from_str(&presence.settings)
                .map_err(|error| format!("the learner's settings are not understood: {error}"))?,
        };
        fits(name, &settings, max_bytes)?;
        Ok(Self {
            name,
            settings,
            seed: presence.seed,
            reset_on_divergence: presence.reset_on_divergence,
        })
    }

    /// The learner as it is before its first experience.
    pub fn build(&self, engine: Engine) -> Result<Guard, String> {
        let reset = self.reset_on_divergence;
        Guard::fresh(self.name, self.seed, &self.settings, engine, reset).map_err(|e| e.to_string())
    }

    /// The learner of a safetensors file.
    pub fn restore(&self, bytes: &[u8], engine: Engine, max_bytes: usize) -> Result<Guard, String> {
        let checkpoint =
            Checkpoint::from_bytes(bytes, "of the device".to_owned()).map_err(|e| e.to_string())?;
        let header = checkpoint.header();
        if header.learner != self.name {
            return Err(format!(
                "the checkpoint is of {}, not of {}",
                header.learner, self.name
            ));
        }
        fits(self.name, &header.settings, max_bytes)?;
        Guard::restore(&checkpoint, engine, self.reset_on_divergence).map_err(|e| e.to_string())
    }
}

/// Whether a learner of this size may be had. Whether the rest of its settings is right, it says itself when built.
fn fits(name: LearnerName, settings: &Settings, max_bytes: usize) -> Result<(), String> {
    let (hidden, networks, replay, repeats) = match name {
        LearnerName::Ac => (&settings.ac.hidden, 2.0, 0, 0),
        LearnerName::Dqn => {
            let dqn = &settings.dqn;
            (&dqn.hidden, 1.0, dqn.replay, dqn.replay_batch)
        }
        LearnerName::StreamQ => (&settings.stream_q.hidden, 1.0, 0, 0),
        LearnerName::StreamAc => (&settings.stream_ac.hidden, 2.0, 0, 0),
        _ => return Ok(()),
    };
    // In floating point nothing overflows, however large the numbers of a stranger are.
    let pairs = hidden.windows(2).map(|pair| pair[0] as f64 * pair[1] as f64);
    let ends = hidden
        .first()
        .into_iter()
        .chain(hidden.last())
        .map(|n| 8.0 * *n as f64);
    let parameters = networks * pairs.chain(ends).sum::<f64>();
    let bytes = parameters * PARAMETER_BYTES + replay as f64 * TRANSITION_BYTES;
    if bytes > max_bytes as f64 {
        return Err(format!(
            "a learner of this size takes {:.0} MB of memory, this trainer gives it at most {:.0}",
            bytes / 1e6,
            max_bytes as f64 / 1e6
        ));
    }
    let visits = parameters * (1.0 + repeats as f64);
    match visits > MAX_UPDATE {
        true => Err(format!(
            "an update would go through {visits:.1e} weights, this trainer takes at most {MAX_UPDATE:.0e}"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn asked(learner: &str, settings: &str) -> Result<Guard, String> {
        let presence = Presence {
            settings: settings.to_owned(),
            ..Presence::default()
        };
        Recipe::of(&learner.parse().unwrap(), &presence, Engine::Native, 64 << 20)?.build(Engine::Native)
    }

    #[test]
    fn learners_are_made_as_the_device_says() {
        let guard = asked("dqn", r#"{"dqn":{"hidden":[8,8]}}"#).unwrap();
        assert_eq!(guard.learner().describe().variant, "2x8");
        assert!(asked("ac", "").is_ok());
    }

    #[test]
    fn what_cannot_be_had_is_refused_in_a_sentence() {
        for (learner, settings, word) in [
            ("oracle", "", "oracle"),
            ("dqn", "{", "settings"),
            ("dqn", r#"{"dqn":{"speed":1}}"#, "speed"),
            ("dqn", r#"{"dqn":{"hidden":[4000,4000]}}"#, "MB"),
            (
                "dqn",
                r#"{"dqn":{"hidden":[18446744073709551615,18446744073709551615]}}"#,
                "MB",
            ),
            ("dqn", r#"{"dqn":{"replay":18446744073709551615}}"#, "MB"),
            (
                "dqn",
                r#"{"dqn":{"replay":10,"replay_batch":18446744073709551615}}"#,
                "weights",
            ),
            ("dqn", r#"{"dqn":{"hidden":[]}}"#, "hidden"),
            ("dqn", r#"{"dqn":{"rate":-1.0}}"#, "rate"),
            ("ac", &" ".repeat(MAX_SETTINGS + 1), "bytes"),
        ] {
            let error = asked(learner, settings).err().unwrap();
            assert!(error.contains(word), "{error}");
        }
    }
}
