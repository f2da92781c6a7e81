//! What a learner needs in order to decide, and nothing else: networks, running normalisation, counts, matrices.
//!
//! Moments of optimisers, traces, kept transitions and generators are not among it: those are what a learner needs to
//! learn, and [`super::checkpoint`] has them. So weights are what a trainer sends to a device, and what two learners
//! are compared by.

use super::error::LearnError;
use super::tensor::{Tensor, Values};
use std::collections::{BTreeMap, BTreeSet};

/// Name and shape of a network's weights or biases.
pub(super) type Part = (String, Vec<usize>);

/// Tensors by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// Adds a tensor; one of that name is replaced.
    pub fn insert(&mut self, name: String, tensor: Tensor) {
        self.0.insert(name, tensor);
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Names and tensors in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds double-precision numbers.
    pub(super) fn put_f64(&mut self, name: &str, shape: &[usize], values: Vec<f64>) {
        self.put(name.to_owned(), shape, Values::F64(values));
    }

    /// Adds a whole number (exact below 2^53).
    pub(super) fn put_count(&mut self, name: &str, count: u64) {
        self.put_f64(name, &[1], vec![count as f64]);
    }

    /// Adds a network's weights and biases, as `PREFIX.LAYER.weight` and `PREFIX.LAYER.bias`.
    pub(super) fn put_network(&mut self, prefix: &str, parts: Vec<Part>, values: Vec<Vec<f32>>) {
        for ((name, shape), values) in parts.into_iter().zip(values) {
            self.put(format!("{prefix}.{name}"), &shape, Values::F32(values));
        }
    }

    /// # Panics
    /// When a learner puts numbers that do not fit the shape it gives them.
    fn put(&mut self, name: String, shape: &[usize], values: Values) {
        let tensor = Tensor::new(shape.to_vec(), values);
        let tensor = tensor.unwrap_or_else(|| panic!("{name} does not have shape {shape:?}"));
        self.0.insert(name, tensor);
    }
}

/// Finds a learner's numbers in weights, all of them, before any is put to use.
pub(super) struct Reader<'a> {
    weights: &'a Weights,
    found: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    pub fn new(weights: &'a Weights) -> Self {
        Self {
            weights,
            found: BTreeSet::new(),
        }
    }

    /// The double-precision numbers of that name, which must have that shape and be finite.
    pub fn f64s(&mut self, name: &str, shape: &[usize]) -> Result<&'a [f64], LearnError> {
        self.find(name)?.f64s(name, shape).map_err(misfit)
    }

    /// The whole number of that name.
    pub fn count(&mut self, name: &str) -> Result<u64, LearnError> {
        self.find(name)?.count(name).map_err(misfit)
    }

    /// The numbers of a network of these parts, in their order.
    pub fn network(&mut self, prefix: &str, parts: &[Part]) -> Result<Vec<&'a [f32]>, LearnError> {
        let one = |(name, shape): &Part| {
            let name = format!("{prefix}.{name}");
            self.find(&name)?.f32s(&name, shape).map_err(misfit)
        };
        parts.iter().map(one).collect()
    }

    /// What is left over was not meant for this learner.
    pub fn finish(self) -> Result<(), LearnError> {
        let unknown = self.weights.iter().find(|(name, _)| !self.found.contains(name));
        match unknown {
            None => Ok(()),
            Some((name, _)) => Err(misfit(format!("this learner has no {name}"))),
        }
    }

    fn find(&mut self, name: &str) -> Result<&'a Tensor, LearnError> {
        let found = self.weights.0.get_key_value(name);
        let (name, tensor) = found.ok_or_else(|| misfit(format!("{name} is missing")))?;
        self.found.insert(name);
        Ok(tensor)
    }
}

/// Weights that cannot be used, and why.
pub(super) fn misfit(what: String) -> LearnError {
    LearnError::Weights { what }
}
