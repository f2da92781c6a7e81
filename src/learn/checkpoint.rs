//! Checkpoints: everything a learner needs to go on exactly where it stopped, in one safetensors file.
//!
//! The tensors are the numbers; the header's metadata has one entry, `hwmeter`, a JSON document with the format
//! version, the learner, its variant, seed, settings, number of updates, the state of its generator, and last a hash
//! of all this and of the tensors, by which a flipped bit is noticed. The
//! same learner in the same state always gives the same bytes.

use super::error::LearnError;
use super::random::{Rng, RngState, for_learning};
use super::tensor::{Tensor, Values};
use super::{LearnerName, Settings};
use safetensors::{SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher as _;
use std::io::Write;
use std::path::Path;
use twox_hash::XxHash3_64;

/// The format this version writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// The one metadata key; a single one, because their order in the file is not defined.
const KEY: &str = "hwmeter";

/// States that a guard has refused.
pub(super) const REJECTED_STATES: &str = "guard.rejected_states";

/// A learner, frozen.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    header: Header,
    tensors: BTreeMap<String, Tensor>,
    origin: String,
}

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// Which learner.
    pub learner: LearnerName,
    /// Its size, such as `4x256`.
    pub variant: String,
    /// The seed it was built with.
    pub seed: u64,
    /// Transitions it has learned from.
    pub updates: u64,
    /// What it was built with.
    pub settings: Settings,
    /// What decisions are drawn from.
    rng: Option<RngState>,
    /// What is drawn from while learning; only where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learning_rng: Option<RngState>,
}

impl Checkpoint {
    /// An empty checkpoint of a learner that was built with `settings` and `seed`.
    pub fn new(learner: LearnerName, variant: String, seed: u64, updates: u64, settings: Settings) -> Self {
        let header = Header {
            format: FORMAT,
            learner,
            variant,
            seed,
            updates,
            settings,
            rng: None,
            learning_rng: None,
        };
        Self {
            header,
            tensors: BTreeMap::new(),
            origin: "in memory".to_owned(),
        }
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where it came from: a path, or `in memory`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Writes the file so that it is there whole or not at all: a temporary file in the same directory, synced,
    /// then renamed over `path`.
    pub fn write(&self, path: &Path) -> Result<(), LearnError> {
        Self::write_bytes(&self.to_bytes()?, path)
    }

    /// The same with the bytes of a file that are there already.
    pub fn write_bytes(bytes: &[u8], path: &Path) -> Result<(), LearnError> {
        let io = |action| {
            move |source| LearnError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = Path::new(&name);
        let written = std::fs::File::create(temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(temporary, path));
        if let Err(error) = written {
            // The first error is the one to report; a leftover temporary file is only litter.
            let _ = std::fs::remove_file(temporary);
            return Err(io("write")(error));
        }
        let directory = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::File::open(directory)
            .and_then(|d| d.sync_all())
            .map_err(io("sync the directory of"))
    }

    /// Reads a file back.
    pub fn read(path: &Path) -> Result<Self, LearnError> {
        let io = |source| LearnError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        // A pipe or a device might never end.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(LearnError::Checkpoint {
                origin: path.display().to_string(),
                what: "not a regular file".to_owned(),
            });
        }
        let bytes = std::fs::read(path).map_err(io)?;
        Self::from_bytes(&bytes, path.display().to_string())
    }

    /// Whether all its numbers are finite.
    pub fn is_finite(&self) -> bool {
        self.not_finite().is_none()
    }

    fn not_finite(&self) -> Option<&str> {
        let mut tensors = self.tensors.iter();
        tensors
            .find(|(_, tensor)| !tensor.values().are_finite())
            .map(|(name, _)| name.as_str())
    }

    /// The bytes of the file. Numbers that are not finite are an error: nobody could go on from them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LearnError> {
        if let Some(name) = self.not_finite() {
            return Err(self.error(format!(
                "not written, {name} holds a number that is not finite: the learner has diverged"
            )));
        }
        let header = serde_json::to_string(&self.header).map_err(|e| self.error(e.to_string()))?;
        let bytes: Vec<_> = self.tensors.values().map(|t| t.values().to_bytes()).collect();
        let views: Result<Views<'_>, _> = (self.tensors.iter().zip(&bytes))
            .map(|((name, t), bytes)| {
                TensorView::new(t.values().dtype(), t.shape().to_vec(), bytes)
                    .map(|view| (name.as_str(), view))
            })
            .collect();
        views
            .and_then(|views| {
                let header = sealed(header, &views);
                safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), header)])))
            })
            .map_err(|e| self.error(e.to_string()))
    }

    /// Understands the bytes of a file; `origin` names it in errors.
    pub fn from_bytes(bytes: &[u8], origin: String) -> Result<Self, LearnError> {
        let error = |what: String| LearnError::Checkpoint {
            origin: origin.clone(),
            what,
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|e| error(format!("damaged or not a safetensors file ({e})")))?;
        let json = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
        let json = json.ok_or_else(|| error("a safetensors file, but not one of hwmeter".to_owned()))?;
        let header = parse_header(json).map_err(error)?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| error(format!("damaged ({e})")))?;
        let mut tensors = BTreeMap::new();
        let views: Views<'_> = file.iter().collect();
        for (name, view) in &views {
            let values = Values::from_bytes(view.dtype(), view.data());
            let values = values.ok_or_else(|| error(format!("{name} is of type {:?}", view.dtype())))?;
            let tensor = Tensor::new(view.shape().to_vec(), values);
            let tensor = tensor.ok_or_else(|| error(format!("{name} does not fill its shape")))?;
            tensors.insert((*name).to_owned(), tensor);
        }
        if !is_whole(json, &views) {
            return Err(error(
                "damaged: its hash is not that of its content; take an earlier copy, or train a new learner"
                    .to_owned(),
            ));
        }
        Ok(Self {
            header,
            tensors,
            origin,
        })
    }

    /// The same, but what belongs to decisions is of `other`, a checkpoint of the same learner: the generator, so that
    /// who goes on from here draws as `other` would have, and a guard's count of refused states.
    pub fn with_decisions_of(mut self, other: &Self) -> Self {
        self.header.rng.clone_from(&other.header.rng);
        if let Some(count) = other.tensors.get(REJECTED_STATES) {
            self.tensors.insert(REJECTED_STATES.to_owned(), count.clone());
        }
        self
    }

    /// Fails unless this is a checkpoint of that learner in that size.
    pub fn expect(&self, learner: LearnerName, variant: &str) -> Result<(), LearnError> {
        let header = &self.header;
        if header.learner == learner && header.variant == variant {
            return Ok(());
        }
        let (found, found_variant) = (header.learner, &header.variant);
        Err(self.error(format!(
            "it is of {found} {found_variant}, not of {learner} {variant}"
        )))
    }

    /// An error about this checkpoint.
    pub fn error(&self, what: String) -> LearnError {
        LearnError::Checkpoint {
            origin: self.origin.clone(),
            what,
        }
    }

    /// Adds single-precision numbers.
    ///
    /// # Panics
    /// When they do not fit the shape.
    pub fn put_f32(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.put(name, shape, Values::F32(values));
    }

    /// Adds double-precision numbers.
    ///
    /// # Panics
    /// When they do not fit the shape.
    pub fn put_f64(&mut self, name: &str, shape: &[usize], values: Vec<f64>) {
        self.put(name, shape, Values::F64(values));
    }

    /// Adds a whole number (exact below 2^53).
    pub fn put_count(&mut self, name: &str, count: u64) {
        self.put_f64(name, &[1], vec![count as f64]);
    }

    /// Whether it holds something of that name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The single-precision numbers of that name, which must have that shape and be finite.
    pub fn f32s(&self, name: &str, shape: &[usize]) -> Result<&[f32], LearnError> {
        let found = self.tensor(name)?.f32s(name, shape);
        found.map_err(|what| self.error(what))
    }

    /// The double-precision numbers of that name, which must have that shape and be finite.
    pub fn f64s(&self, name: &str, shape: &[usize]) -> Result<&[f64], LearnError> {
        let found = self.tensor(name)?.f64s(name, shape);
        found.map_err(|what| self.error(what))
    }

    /// The whole number of that name.
    pub fn count(&self, name: &str) -> Result<u64, LearnError> {
        let found = self.tensor(name)?.count(name);
        found.map_err(|what| self.error(what))
    }

    /// Adds the state of the generator that learning draws from.
    pub(crate) fn put_learning_rng(&mut self, rng: &Rng) {
        self.header.learning_rng = Some(RngState::of(rng));
    }

    /// A generator for learning that goes on from the saved state. Checkpoints from before there was one get it as it
    /// is at first.
    pub(crate) fn learning_rng(&self) -> Rng {
        let state = self.header.learning_rng.as_ref();
        state.map_or_else(|| for_learning(self.header.seed), RngState::resume)
    }

    /// Adds the state of the generator that decisions are drawn from.
    pub(crate) fn put_rng(&mut self, rng: &Rng) {
        self.header.rng = Some(RngState::of(rng));
    }

    /// A generator that goes on from the saved state.
    pub(crate) fn rng(&self) -> Result<Rng, LearnError> {
        let state = self.header.rng.as_ref();
        state
            .map(RngState::resume)
            .ok_or_else(|| self.error("the state of its generator is missing".to_owned()))
    }

    fn put(&mut self, name: &str, shape: &[usize], values: Values) {
        let tensor = Tensor::new(shape.to_vec(), values);
        let tensor = tensor.unwrap_or_else(|| panic!("{name} does not have shape {shape:?}"));
        self.tensors.insert(name.to_owned(), tensor);
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, LearnError> {
        let found = self.tensors.get(name);
        found.ok_or_else(|| self.error(format!("{name} is missing")))
    }
}

/// The tensors as they stand in a file, in the order of their names.
type Views<'a> = BTreeMap<&'a str, TensorView<'a>>;

/// What stands before the hash in the header.
const SEAL: &str = ",\"xxh3\":\"";

/// The header's text with the hash of itself and of the tensors as its last entry.
fn sealed(mut header: String, tensors: &Views<'_>) -> String {
    header.pop(); // its closing brace
    let hash = hash(&header, tensors);
    header + SEAL + &format!("{hash:016x}\"}}")
}

/// Whether the hash is right. Files of earlier versions have none; they are taken as they are.
fn is_whole(header: &str, tensors: &Views<'_>) -> bool {
    match header.rsplit_once(SEAL) {
        None => true,
        Some((header, rest)) => rest == format!("{:016x}\"}}", hash(header, tensors)),
    }
}

/// XXH3 over the header and the names, shapes and numbers of the tensors.
fn hash(header: &str, tensors: &Views<'_>) -> u64 {
    let mut hasher = XxHash3_64::new();
    hasher.write(header.as_bytes());
    for (name, tensor) in tensors {
        hasher.write(name.as_bytes());
        for length in tensor.shape() {
            hasher.write(&(*length as u64).to_le_bytes());
        }
        hasher.write(tensor.data());
    }
    hasher.finish()
}

/// The format first: another version may have other fields.
fn parse_header(json: &str) -> Result<Header, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |e: serde_json::Error| format!("its header is damaged ({e})");
    let Format { format } = serde_json::from_str(json).map_err(damaged)?;
    if format != FORMAT {
        return Err(format!(
            "it has format {format}, this version reads format {FORMAT}; use the version of hwmeter that wrote it, or \
             train a new learner"
        ));
    }
    serde_json::from_str(json).map_err(damaged)
}
