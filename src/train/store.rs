//! Where a trainer keeps its learners: one object for each, in a folder or in an object store.
//!
//! An object is there whole or not at all: in a folder it is written beside, synced, renamed and the folder synced
//! ([`LocalFileSystem`] does that); object stores promise the same of a put. What is damaged is moved aside, never
//! deleted.
//!
//! Trainers of a group share a store, and two of them may believe that a learner is theirs. So each claims a learner
//! before it goes on with it: it reads it and writes it back with a fence that is greater by one. From then on a put with an
//! older fence is refused, and so nothing that is stored is ever replaced by what somebody made of an earlier state. To
//! look at the fence and to put is one step: in a folder by a lock, in an object store by conditional puts.

mod bucket;
mod record;
mod versions;

pub use bucket::{Bucket, BucketError, BucketUrl};

use super::topic::{Name, Pupil};
use super::wire::proto::Record;
use nix::fcntl::{Flock, FlockArg};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;
use versions::{Failed, Versions};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such folder, and none can be made.
    #[error("cannot use {} as a trainer's state folder: {cause}", .folder.display())]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Two trainers would overwrite each other's learners.
    #[error("another trainer uses {}: end that one, or give this one a folder of its own by --state", .0.display())]
    InUse(PathBuf),
    /// The threads that talk to the store cannot be started.
    #[error("cannot start a thread for the state of learners: {0}")]
    Thread(io::Error),
    /// A read or write did not work; another may.
    #[error("cannot {action} the stored learner {pupil}: {cause}")]
    Object {
        /// What was tried, as a verb.
        action: &'static str,
        /// Whose learner.
        pupil: Pupil,
        /// What the store says.
        cause: Box<object_store::Error>,
    },
    /// Another trainer has claimed or written it since: what this one made of it must not be stored.
    #[error(
        "the stored learner {0} was written by another trainer since: trainers that share a store need the same --group, \
         or a --shard each"
    )]
    Fenced(Pupil),
    /// What is stored is not what was written.
    #[error("the stored learner {pupil} cannot be used: {what}")]
    Damaged {
        /// Whose learner.
        pupil: Pupil,
        /// What is wrong with it.
        what: String,
    },
}

/// The learners of one trainer, or of a group of them.
#[derive(Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
    writers: Writers,
    /// Held as long as the store is.
    _lock: Option<Flock<File>>,
}

/// Who else writes here.
#[derive(Debug)]
enum Writers {
    /// Nobody.
    Alone,
    /// Others of the group, one at a time: who holds the lock of this file.
    InTurns(PathBuf),
    /// Others, at any time; the store tells what they wrote.
    AtOnce(Versions),
}

/// Under which a learner is written: nobody has claimed it since. The default: nobody has stored it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim(u64);

/// Tries to claim a learner while others do.
const TRIES: usize = 3;

impl Store {
    /// A folder, which is made if it is not there, for this process alone.
    pub fn folder(folder: &Path) -> Result<Self, StoreError> {
        Self::in_folder(folder, FlockArg::LockExclusiveNonblock, Writers::Alone)
    }

    /// A folder that the trainers of a group share, and nobody else.
    pub fn folder_of_group(folder: &Path) -> Result<Self, StoreError> {
        let writers = Writers::InTurns(folder.join("writing"));
        Self::in_folder(folder, FlockArg::LockSharedNonblock, writers)
    }

    /// Any object store that knows ETags, which others may use as well.
    pub fn objects(objects: Arc<dyn ObjectStore>) -> Result<Self, StoreError> {
        Self::of(objects, Writers::AtOnce(Versions::default()), None)
    }

    fn in_folder(folder: &Path, how: FlockArg, writers: Writers) -> Result<Self, StoreError> {
        let failed = |cause| StoreError::Folder {
            folder: folder.to_owned(),
            cause,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = lock(folder, how)?;
        let objects = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| failed(io::Error::other(error)))?
            .with_fsync(true);
        Self::of(Arc::new(objects), writers, Some(lock))
    }

    fn of(
        objects: Arc<dyn ObjectStore>,
        writers: Writers,
        lock: Option<Flock<File>>,
    ) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("hwmeter-store")
            .enable_all()
            .build()
            .map_err(StoreError::Thread)?;
        Ok(Self {
            objects,
            runtime,
            writers,
            _lock: lock,
        })
    }

    /// How many learners are best written or read at once: an object store is slow to answer, not slow to write.
    pub fn parallel(&self) -> usize {
        match self.writers {
            Writers::AtOnce(_) => 8,
            Writers::Alone | Writers::InTurns(_) => 1,
        }
    }

    /// Reads a learner, to go on with it: unless it is claimed as `held` says, it is claimed anew. `None`: there is none.
    pub fn claim(&self, pupil: &Pupil, held: Claim) -> Result<Option<(Record, Claim)>, StoreError> {
        let _turn = self.turn(pupil)?;
        for _ in 0..TRIES {
            let Some(mut record) = self.get(pupil)? else {
                return Ok(None);
            };
            let is_held = held == Claim(record.fence) && held != Claim::default();
            if !is_held && !matches!(self.writers, Writers::Alone) {
                record.fence = record.fence.wrapping_add(1);
                match self.write(pupil, &record) {
                    Err(StoreError::Fenced(_)) => continue,
                    written => written?,
                }
            }
            let claim = Claim(record.fence);
            return Ok(Some((record, claim)));
        }
        Err(StoreError::Fenced(pupil.clone()))
    }

    /// Writes a learner in place of the one that is there, durably, unless somebody has claimed that since.
    pub fn put(&self, pupil: &Pupil, record: &Record, claim: Claim) -> Result<Claim, StoreError> {
        let _turn = self.turn(pupil)?;
        if let Writers::InTurns(_) = self.writers {
            self.check(pupil, claim)?;
        }
        let fence = match (&self.writers, claim) {
            (Writers::Alone, Claim(fence)) => fence,
            // Not the same as that of one which was there before and was taken away.
            (_, Claim(0)) => u64::from(rand::random::<u32>()) + 1,
            (_, Claim(fence)) => fence,
        };
        let record = Record {
            fence,
            ..record.clone()
        };
        self.write(pupil, &record).map(|()| Claim(fence))
    }

    /// Whether a put under this claim may be.
    fn check(&self, pupil: &Pupil, claim: Claim) -> Result<(), StoreError> {
        let fence = match self.get(pupil) {
            Ok(found) => found.map_or(Some(0), |record| Some(record.fence)),
            // Whoever opens it next sets it aside.
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        match fence == Some(claim.0) {
            true => Ok(()),
            false => Err(StoreError::Fenced(pupil.clone())),
        }
    }

    fn write(&self, pupil: &Pupil, record: &Record) -> Result<(), StoreError> {
        let bytes = record::encode(record);
        let key = key(pupil, LEARNER);
        let failed = failed("write", pupil);
        match &self.writers {
            Writers::Alone | Writers::InTurns(_) => {
                let put = self.runtime.block_on(self.objects.put(&key, bytes.into()));
                put.map(drop).map_err(failed)
            }
            Writers::AtOnce(versions) => {
                let put = versions.put(self.objects.as_ref(), &key, bytes);
                self.runtime.block_on(put).map_err(|why| match why {
                    Failed::Stale => StoreError::Fenced(pupil.clone()),
                    Failed::Other(cause) => failed(cause),
                })
            }
        }
    }

    /// Waits until nobody else writes. Others do not hold the lock for longer than a write takes, and the kernel takes it
    /// from one that dies.
    fn turn(&self, pupil: &Pupil) -> Result<Option<Flock<File>>, StoreError> {
        let Writers::InTurns(file) = &self.writers else {
            return Ok(None);
        };
        let failed = |cause: io::Error| {
            let store = "a shared folder";
            let source = Box::new(cause);
            failed("lock", pupil)(object_store::Error::Generic { store, source })
        };
        let file = lock_file(file).map_err(failed)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        lock.map(Some).map_err(|(_, errno)| failed(errno.into()))
    }

    /// Reads a learner; `None`: there is none.
    pub fn get(&self, pupil: &Pupil) -> Result<Option<Record>, StoreError> {
        let key = key(pupil, LEARNER);
        let read = async {
            match &self.writers {
                Writers::Alone | Writers::InTurns(_) => self.objects.get(&key).await?.bytes().await,
                Writers::AtOnce(versions) => versions.get(self.objects.as_ref(), &key).await,
            }
        };
        let bytes = match self.runtime.block_on(read) {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(cause) => return Err(failed("read", pupil)(cause)),
        };
        let damaged = |what| StoreError::Damaged {
            pupil: pupil.clone(),
            what,
        };
        record::decode(bytes).map(Some).map_err(damaged)
    }

    /// Moves a learner that is damaged, or is claimed so and of no use, out of the way for somebody to look at; its new
    /// name.
    pub fn set_aside(&self, pupil: &Pupil, claim: Claim) -> Result<String, StoreError> {
        let _turn = self.turn(pupil)?;
        match self.get(pupil) {
            Err(StoreError::Damaged { .. }) => {}
            Ok(Some(record)) if Claim(record.fence) == claim => {}
            // Another trainer was faster.
            Ok(_) => return Err(StoreError::Fenced(pupil.clone())),
            Err(error) => return Err(error),
        }
        let stamp = jiff::Timestamp::now().as_millisecond();
        let aside = key(pupil, &format!("damaged-{stamp}"));
        let from = key(pupil, LEARNER);
        let moved = self.objects.rename(&from, &aside);
        let moved = self.runtime.block_on(moved);
        moved.map_err(failed("set aside", pupil))?;
        if let Writers::AtOnce(versions) = &self.writers {
            versions.is(&from, None);
        }
        Ok(aside.to_string())
    }
}

/// What the names of objects end in.
const LEARNER: &str = "learner";

/// `D/M.END`; names hold nothing that a path could take for something else.
fn key(pupil: &Pupil, end: &str) -> Key {
    let (device, learner): (&Name, &Name) = (&pupil.device, &pupil.learner);
    Key::from(format!("{device}/{learner}.{end}"))
}

fn failed(action: &'static str, pupil: &Pupil) -> impl FnOnce(object_store::Error) -> StoreError {
    let pupil = pupil.clone();
    move |cause| StoreError::Object {
        action,
        pupil,
        cause: Box::new(cause),
    }
}

/// Held by the kernel for as long as this process lives, however it ends.
fn lock(folder: &Path, how: FlockArg) -> Result<Flock<File>, StoreError> {
    let failed = |cause| StoreError::Folder {
        folder: folder.to_owned(),
        cause,
    };
    let file = lock_file(&folder.join("lock")).map_err(failed)?;
    match Flock::lock(file, how) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StoreError::InUse(folder.to_owned())),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
