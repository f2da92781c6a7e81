//! What can go wrong with a learner.

use std::path::PathBuf;

/// Why a learner could not decide, learn, be built, be saved or be loaded. The learner is as it was before,
/// unless its engine has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// A state or a reward holds NaN or an infinity.
    #[error("{what} is {value}: a learner needs finite numbers, leave this task out")]
    NotFinite {
        /// The value's name.
        what: &'static str,
        /// NaN, inf or -inf.
        value: f64,
    },
    /// A learner cannot be built with these settings.
    #[error("{learner}: {setting} is {value}, it must be {expected}")]
    Setting {
        /// The learner's name.
        learner: &'static str,
        /// The setting's name.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// The engine cannot be used, or has failed; a learner that is there already is lost then.
    #[error(transparent)]
    Engine(#[from] super::engine::EngineError),
    /// A checkpoint is damaged, or is of another learner or size.
    #[error("checkpoint {origin}: {what}")]
    Checkpoint {
        /// The file, or `in memory`.
        origin: String,
        /// What is wrong with it.
        what: String,
    },
    /// Weights are of another learner or size, or hold numbers that cannot be.
    #[error("weights that do not fit: {what}")]
    Weights {
        /// What is wrong with them.
        what: String,
    },
    /// A checkpoint file could not be read or written.
    #[error("cannot {action} checkpoint {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
}
