//! The bytes of all messages that the broker holds, wherever they are: queued, under way or retained.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A message of fewer bytes is copied: it would keep the whole buffer alive in which it was read.
const COPIED: usize = 64 << 10;

/// A sum of bytes, shared by everything that belongs to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum(Arc<AtomicUsize>);

impl Sum {
    /// How many there are now.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A message that counts as long as anything refers to it.
struct Held {
    bytes: Bytes,
    sums: [Sum; 2],
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for sum in &self.sums {
            sum.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        }
    }
}

/// The same bytes, which count in both sums until the last reference to them is gone.
pub(super) fn hold(bytes: &Bytes, sums: [Sum; 2]) -> Bytes {
    let bytes = if bytes.len() < COPIED {
        Bytes::copy_from_slice(bytes)
    } else {
        bytes.clone()
    };
    for sum in &sums {
        sum.0.fetch_add(bytes.len(), Ordering::Relaxed);
    }
    Bytes::from_owner(Held { bytes, sums })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_until_the_last_reference_to_it_is_gone() {
        let (all, one) = (Sum::default(), Sum::default());
        for length in [3, COPIED + 3] {
            let message = Bytes::from(vec![7; length]);
            let held = hold(&message, [all.clone(), one.clone()]);
            assert_eq!(held, message);
            let part = held.slice(1..2);
            drop(held);
            assert_eq!((all.bytes(), one.bytes()), (length, length));
            drop(part);
            assert_eq!((all.bytes(), one.bytes()), (0, 0));
        }
    }
}
