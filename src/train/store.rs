//! Where a trainer keeps its learners: one object for each, in a folder or in an object store.
//!
//! An object is there whole or not at all: in a folder it is written beside, synced, renamed and the folder synced
//! ([`LocalFileSystem`] does that); object stores promise the same of a put. What is damaged is moved aside, never
//! deleted.
//!
//! A folder is locked for one trainer. An object store has no lock: there nobody overwrites what he has not seen
//! ([`StoreError::Stale`]).

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
    /// Another trainer has written it since it was read: it has to be read again.
    #[error(
        "the stored learner {0} was written by another trainer since: divide the devices by --shard, or give each \
         trainer a prefix of its own by --state"
    )]
    Stale(Pupil),
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
    /// Of an object store, in which others may write.
    versions: Option<Versions>,
    /// Held as long as the store is.
    _lock: Option<Flock<File>>,
}

impl Store {
    /// A folder, which is made if it is not there, for this process alone.
    pub fn folder(folder: &Path) -> Result<Self, StoreError> {
        let failed = |cause| StoreError::Folder {
            folder: folder.to_owned(),
            cause,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = lock(folder)?;
        let objects = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| failed(io::Error::other(error)))?
            .with_fsync(true);
        Ok(Self {
            objects: Arc::new(objects),
            runtime: runtime()?,
            versions: None,
            _lock: Some(lock),
        })
    }

    /// Any object store that knows ETags.
    pub fn objects(objects: Arc<dyn ObjectStore>) -> Result<Self, StoreError> {
        Ok(Self {
            objects,
            runtime: runtime()?,
            versions: Some(Versions::default()),
            _lock: None,
        })
    }

    /// How many learners are best written or read at once: an object store is slow to answer, not slow to write.
    pub fn parallel(&self) -> usize {
        if self.versions.is_some() { 8 } else { 1 }
    }

    /// Writes a learner in place of the one that is there, durably; in an object store only in place of the one that was
    /// read or written here last.
    pub fn put(&self, pupil: &Pupil, record: &Record) -> Result<(), StoreError> {
        let bytes = record::encode(record);
        let key = key(pupil, LEARNER);
        let put = async {
            match &self.versions {
                Some(versions) => versions.put(&*self.objects, &key, bytes).await,
                None => {
                    let put = self.objects.put(&key, bytes.into()).await;
                    put.map(drop).map_err(Failed::Other)
                }
            }
        };
        self.runtime.block_on(put).map_err(|why| match why {
            Failed::Stale => StoreError::Stale(pupil.clone()),
            Failed::Other(cause) => failed("write", pupil)(cause),
        })
    }

    /// Reads a learner; `None`: there is none.
    pub fn get(&self, pupil: &Pupil) -> Result<Option<Record>, StoreError> {
        let key = key(pupil, LEARNER);
        let read = async {
            match &self.versions {
                Some(versions) => versions.get(&*self.objects, &key).await,
                None => self.objects.get(&key).await?.bytes().await,
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

    /// Moves a learner out of the way, for somebody to look at; its new name.
    pub fn set_aside(&self, pupil: &Pupil) -> Result<String, StoreError> {
        let stamp = jiff::Timestamp::now().as_millisecond();
        let aside = key(pupil, &format!("damaged-{stamp}"));
        let from = key(pupil, LEARNER);
        let moved = self.objects.rename(&from, &aside);
        let moved = self.runtime.block_on(moved);
        moved.map_err(failed("set aside", pupil))?;
        if let Some(versions) = &self.versions {
            versions.is(&from, None);
        }
        Ok(aside.to_string())
    }
}

fn runtime() -> Result<Runtime, StoreError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("hwmeter-store")
        .enable_all()
        .build()
        .map_err(StoreError::Thread)
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
fn lock(folder: &Path) -> Result<Flock<File>, StoreError> {
    let failed = |cause| StoreError::Folder {
        folder: folder.to_owned(),
        cause,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StoreError::InUse(folder.to_owned())),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pupil() -> Pupil {
        Pupil {
            device: "pi-1".parse().unwrap(),
            learner: "dqn".parse().unwrap(),
        }
    }

    fn record(applied: u64) -> Record {
        Record {
            epoch: 3,
            applied,
            checkpoint: vec![7; 1000].into(),
            ..Record::default()
        }
    }

    #[test]
    fn the_last_learner_written_is_the_one_read_by_the_next_process_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path()).unwrap();
        assert_eq!(store.get(&pupil()).unwrap(), None);
        store.put(&pupil(), &record(1)).unwrap();
        store.put(&pupil(), &record(2)).unwrap();
        drop(store);
        let store = Store::folder(folder.path()).unwrap();
        assert_eq!(store.get(&pupil()).unwrap(), Some(record(2)));
    }

    #[test]
    fn a_folder_is_for_one_trainer() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::folder(folder.path()).unwrap();
        assert!(matches!(Store::folder(folder.path()), Err(StoreError::InUse(_))));
    }

    #[test]
    fn in_an_object_store_nobody_overwrites_what_he_has_not_seen() {
        let objects = Arc::new(object_store::memory::InMemory::new());
        let [one, other] = [0, 1].map(|_| Store::objects(objects.clone()).unwrap());
        assert_eq!(other.get(&pupil()).unwrap(), None);
        one.put(&pupil(), &record(1)).unwrap();
        one.put(&pupil(), &record(2)).unwrap();
        for _ in 0..2 {
            let refused = other.put(&pupil(), &record(1));
            assert!(matches!(refused, Err(StoreError::Stale(_))), "{refused:?}");
        }
        assert_eq!(other.get(&pupil()).unwrap(), Some(record(2)));
        other.put(&pupil(), &record(3)).unwrap();
        assert!(matches!(one.put(&pupil(), &record(9)), Err(StoreError::Stale(_))));
        assert_eq!(one.get(&pupil()).unwrap(), Some(record(3)));
    }

    #[test]
    fn what_is_damaged_is_told_and_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::folder(folder.path()).unwrap();
        store.put(&pupil(), &record(1)).unwrap();
        let file = folder.path().join("pi-1/dqn.learner");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[500] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        assert!(matches!(store.get(&pupil()), Err(StoreError::Damaged { .. })));
        let aside = store.set_aside(&pupil()).unwrap();
        assert_eq!(store.get(&pupil()).unwrap(), None);
        assert_eq!(std::fs::read(folder.path().join(aside)).unwrap(), bytes);
    }
}
