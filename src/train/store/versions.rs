//! In an object store several may write. A put replaces the version that was read or written last, and no other: whoever
//! has not seen what another trainer wrote since is refused.
//!
//! ETags do that, but an answer may be lost after the server has written. Then the next put is refused because of our
//! own: so what was written in doubt is remembered by its hash, and recognised.

use crate::train::lock;
use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{
    Error, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutResult, UpdateVersion,
};
use std::collections::HashMap;
use std::sync::Mutex;
use twox_hash::XxHash3_64;

/// Puts in doubt that are remembered of an object; a request that is older than so many has ended one way or the other.
const MOST_DOUBTS: usize = 64;

/// Why a put did not work.
#[derive(Debug)]
pub(super) enum Failed {
    /// Somebody else has written since.
    Stale,
    /// Anything else; it may have been written all the same.
    Other(Error),
}

/// What is known of each object.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<HashMap<Key, Known>>);

#[derive(Debug, Default)]
struct Known {
    /// `None`: nothing was there.
    version: Option<UpdateVersion>,
    /// Hashes of what may have been written in its place.
    doubts: Vec<u64>,
}

impl Versions {
    /// Reads an object.
    pub async fn get(&self, objects: &dyn ObjectStore, key: &Key) -> Result<Bytes, Error> {
        let read = match objects.get(key).await {
            Ok(read) => read,
            Err(error) => {
                if matches!(error, Error::NotFound { .. }) {
                    self.is(key, None);
                }
                return Err(error);
            }
        };
        let version = of_read(&read);
        let bytes = read.bytes().await?;
        self.is(key, Some(version));
        Ok(bytes)
    }

    /// Writes an object in place of the version that was seen last.
    pub async fn put(&self, objects: &dyn ObjectStore, key: &Key, bytes: Bytes) -> Result<(), Failed> {
        match self.put_once(objects, key, &bytes).await {
            Err(Failed::Stale) => {}
            done => return done,
        }
        let doubts = self.doubts(key);
        match self.look(objects, key).await? {
            Some((there, version)) if there == bytes => {
                self.is(key, Some(version));
                Ok(())
            }
            Some((there, version)) if doubts.contains(&XxHash3_64::oneshot(&there)) => {
                self.is(key, Some(version));
                self.put_once(objects, key, &bytes).await
            }
            Some(_) => Err(Failed::Stale),
            // Somebody took it away: nothing is overwritten.
            None => {
                self.is(key, None);
                self.put_once(objects, key, &bytes).await
            }
        }
    }

    /// It is known what is there.
    pub fn is(&self, key: &Key, version: Option<UpdateVersion>) {
        let mut all = lock(&self.0);
        match version {
            Some(version) => {
                let known = Known {
                    version: Some(version),
                    doubts: Vec::new(),
                };
                all.insert(key.clone(), known);
            }
            None => drop(all.remove(key)),
        }
    }

    async fn put_once(&self, objects: &dyn ObjectStore, key: &Key, bytes: &Bytes) -> Result<(), Failed> {
        let version = lock(&self.0).get(key).and_then(|known| known.version.clone());
        let mode = version.map_or(PutMode::Create, PutMode::Update);
        let put = objects.put_opts(key, bytes.clone().into(), PutOptions::from(mode));
        match put.await {
            Ok(put) => {
                self.is(key, Some(of_written(put)));
                Ok(())
            }
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => Err(Failed::Stale),
            Err(error) => {
                self.doubt(key, XxHash3_64::oneshot(bytes));
                Err(Failed::Other(error))
            }
        }
    }

    /// What is there, which is not taken for seen yet.
    async fn look(
        &self,
        objects: &dyn ObjectStore,
        key: &Key,
    ) -> Result<Option<(Bytes, UpdateVersion)>, Failed> {
        let read = match objects.get(key).await {
            Ok(read) => read,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Failed::Other(error)),
        };
        let version = of_read(&read);
        let bytes = read.bytes().await.map_err(Failed::Other)?;
        Ok(Some((bytes, version)))
    }

    fn doubts(&self, key: &Key) -> Vec<u64> {
        let known = lock(&self.0);
        known
            .get(key)
            .map(|known| known.doubts.clone())
            .unwrap_or_default()
    }

    fn doubt(&self, key: &Key, hash: u64) {
        let mut all = lock(&self.0);
        let doubts = &mut all.entry(key.clone()).or_default().doubts;
        if doubts.contains(&hash) {
            return;
        }
        if doubts.len() >= MOST_DOUBTS {
            doubts.remove(0);
        }
        doubts.push(hash);
    }
}

fn of_read(read: &GetResult) -> UpdateVersion {
    UpdateVersion {
        e_tag: read.meta.e_tag.clone(),
        version: read.meta.version.clone(),
    }
}

fn of_written(put: PutResult) -> UpdateVersion {
    UpdateVersion {
        e_tag: put.e_tag,
        version: put.version,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn key() -> Key {
        Key::from("pi-1/dqn.learner")
    }

    /// The server does it, and its answer is lost.
    async fn write(objects: &InMemory, text: &'static str) {
        objects
            .put(&key(), Bytes::from_static(text.as_bytes()).into())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_was_written_in_doubt_is_known_again_and_nothing_else_is() {
        let (objects, versions) = (InMemory::new(), Versions::default());
        let key = key();
        let put = |text: &'static str| versions.put(&objects, &key, Bytes::from_static(text.as_bytes()));
        put("1").await.unwrap();
        // The same once more.
        write(&objects, "2").await;
        put("2").await.unwrap();
        // Another one after the one in doubt.
        versions.doubt(&key, XxHash3_64::oneshot(b"3"));
        write(&objects, "3").await;
        put("4").await.unwrap();
        // Of somebody else.
        versions.doubt(&key, XxHash3_64::oneshot(b"5"));
        write(&objects, "6").await;
        assert!(matches!(put("7").await, Err(Failed::Stale)));
        assert!(matches!(put("7").await, Err(Failed::Stale)));
        assert_eq!(versions.get(&objects, &key).await.unwrap(), "6");
        put("7").await.unwrap();
    }

    #[tokio::test]
    async fn what_somebody_took_away_is_written_again() {
        let (objects, versions) = (InMemory::new(), Versions::default());
        let key = key();
        let put = |text: &'static str| versions.put(&objects, &key, Bytes::from_static(text.as_bytes()));
        put("1").await.unwrap();
        objects.delete(&key).await.unwrap();
        put("2").await.unwrap();
        assert_eq!(versions.get(&objects, &key).await.unwrap(), "2");
    }
}
