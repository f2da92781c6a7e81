//! What a manager wants said, in order, until somebody says it.

use crate::train::link::Outgoing;
use std::collections::VecDeque;

/// Bytes that may wait to be sent before learners pause: the broker is slower than they are, or gone.
const FULL_BYTES: usize = 32 << 20;

/// What a manager wants of its broker.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A message sent.
    Publish(Outgoing),
    /// The messages of this filter.
    Subscribe(String),
    /// No more of them.
    Unsubscribe(String),
}

/// First in, first out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Output>,
    bytes: usize,
}

impl Outbox {
    pub fn push(&mut self, output: Output) {
        self.bytes += size(&output);
        self.waiting.push_back(output);
    }

    pub fn extend(&mut self, outputs: impl IntoIterator<Item = Output>) {
        outputs.into_iter().for_each(|output| self.push(output));
    }

    pub fn pop(&mut self) -> Option<Output> {
        let output = self.waiting.pop_front()?;
        self.bytes -= size(&output);
        Some(output)
    }

    /// To be the next again.
    pub fn put_back(&mut self, output: Output) {
        self.bytes += size(&output);
        self.waiting.push_front(output);
    }

    pub fn is_full(&self) -> bool {
        self.bytes > FULL_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn size(output: &Output) -> usize {
    match output {
        Output::Publish(outgoing) => outgoing.payload.len(),
        Output::Subscribe(_) | Output::Unsubscribe(_) => 0,
    }
}
