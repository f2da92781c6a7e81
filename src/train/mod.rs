//! Training on the MEC: experiences go up, weights come down, over MQTT 3.1.1.
//!
//! ```text
//! wire      what is said: `proto/train.proto`, made and checked here
//! topic     where it is said
//! weights   a learner's weights as a message, and their SHA-256
//! codec     the same in fewer bytes
//! transfer  what is too large for one message, in chunks
//! link      an MQTT client that stays connected
//! broker    the embedded broker
//! queue     a device's experiences on disk until they are stored elsewhere
//! device    the device's side of the protocol
//! remote    the same with a link and a thread: a device's connection to its trainer
//! manager   the trainer's side: which learners there are, whose turn it is, what is stored
//! types     one trainer for each type of device
//! store     checkpoints in a folder or an object store
//! energy    joules of updates, by their CPU time
//! trainer   a manager, its threads and a link
//! directory what trainers say of their learners
//! fleet     many devices at once, to see what a broker and a trainer take
//! ```

pub mod broker;
pub mod codec;
pub mod device;
pub mod directory;
pub mod energy;
pub mod fleet;
pub mod link;
pub mod manager;
pub mod queue;
pub mod remote;
pub mod store;
pub mod topic;
pub mod trainer;
pub mod transfer;
pub mod types;
pub mod weights;
pub mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing that is done under the locks of this module can leave anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
