//! The open connections: how many there may be, and which of them do nothing.
//!
//! A connection is *busy* while a request of its is being answered. One that is not, and has completed no request
//! head for `idle_limit`, is closed: an idle one, one that drips its header byte by byte, one that never
//! finishes its TLS handshake, and one that does not take its answers. When all places are taken, those that have
//! been idle for longest go early, so that whoever opens connections and does nothing locks nobody out.

use super::metrics::{Lost, Metrics};
use crate::file_limit::raise_file_limit;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Files the process needs besides connections.
const OTHER_FILES: u64 = 64;
/// One of so many connections goes when room is needed, so that looking for them is rare.
const SHED_SHARE: usize = 32;

/// All open connections.
pub(super) struct Connections {
    limit: usize,
    pub idle_limit: Duration,
    metrics: Arc<Metrics>,
    began: Instant,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next_id: u64,
    by_id: HashMap<u64, Arc<Activity>>,
}

/// What one connection does.
#[derive(Default)]
pub(super) struct Activity {
    busy: AtomicUsize,
    /// When a request last began or ended, in ms since the server began.
    last_ms: AtomicU64,
    close: Notify,
}

/// A place among the open connections, free again when dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    activity: Arc<Activity>,
}

/// A request being answered, until dropped.
pub(super) struct Busy<'a>(&'a Place);

impl Connections {
    /// At most `wanted`, and at most as many as this process may have files.
    pub fn new(wanted: usize, idle_limit: Duration, metrics: Arc<Metrics>) -> Self {
        let files = usize::try_from(raise_file_limit().saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
        if files < wanted {
            tracing::info!("this process may have {files} connections at once (ulimit -Hn), not {wanted}");
        }
        Self {
            limit: wanted.min(files).max(1),
            idle_limit,
            metrics,
            began: Instant::now(),
            open: Mutex::default(),
        }
    }

    /// A place for a new connection; `None` when all are taken by busy ones.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let activity = Arc::new(Activity::default());
        activity.last_ms.store(self.now_ms(), Ordering::Relaxed);
        let mut open = self.lock();
        if open.by_id.len() >= self.limit && self.shed(&mut open) == 0 {
            return None;
        }
        let id = open.next_id;
        open.next_id += 1;
        open.by_id.insert(id, Arc::clone(&activity));
        self.metrics.connections.set(open.by_id.len() as i64);
        Some(Place {
            connections: Arc::clone(self),
            id,
            activity,
        })
    }

    /// Closes those that have done nothing for too long.
    pub fn close_idle(&self) {
        let oldest = self.now_ms().saturating_sub(self.idle_limit.as_millis() as u64);
        self.lock().by_id.retain(|_, activity| {
            let goes = activity.is_idle() && activity.last_ms.load(Ordering::Relaxed) < oldest;
            if goes {
                self.close(activity, Lost::Idle);
            }
            !goes
        });
    }

    /// Closes those that have been idle for longest, because files have run out.
    pub fn make_room(&self) -> usize {
        self.shed(&mut self.lock())
    }

    pub fn is_empty(&self) -> bool {
        self.lock().by_id.is_empty()
    }

    fn shed(&self, open: &mut Open) -> usize {
        let mut idle: Vec<(u64, u64)> = open
            .by_id
            .iter()
            .filter(|(_, activity)| activity.is_idle())
            .map(|(&id, activity)| (activity.last_ms.load(Ordering::Relaxed), id))
            .collect();
        let going = idle.len().min(open.by_id.len() / SHED_SHARE + 1);
        if going < idle.len() {
            idle.select_nth_unstable(going);
        }
        for (_, id) in &idle[..going] {
            // It no longer counts, though its socket stays open until its task has seen the note.
            if let Some(activity) = open.by_id.remove(id) {
                self.close(&activity, Lost::Shed);
            }
        }
        going
    }

    fn close(&self, activity: &Activity, why: Lost) {
        activity.close.notify_one();
        self.metrics.lost(why);
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Activity {
    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }
}

impl Place {
    /// A request begins.
    pub fn busy(&self) -> Busy<'_> {
        self.activity.busy.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(self)
    }

    /// Completes when the connection is to be closed.
    pub async fn closed(&self) {
        self.activity.close.notified().await;
    }

    fn touch(&self) {
        self.activity
            .last_ms
            .store(self.connections.now_ms(), Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.touch();
        self.0.activity.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.by_id.remove(&self.id);
        self.connections.metrics.connections.set(open.by_id.len() as i64);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::serve::Role;

    fn connections(limit: usize) -> Arc<Connections> {
        let metrics = Arc::new(Metrics::new(Role::Mec).unwrap());
        Arc::new(Connections::new(limit, Duration::from_secs(30), metrics))
    }

    async fn is_told_to_close(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.closed())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn the_idlest_make_room_and_the_busy_stay() {
        let all = connections(3);
        let first = all.enter().unwrap();
        let second = all.enter().unwrap();
        let third = all.enter().unwrap();
        first.activity.last_ms.store(10, Ordering::Relaxed);
        second.activity.last_ms.store(5, Ordering::Relaxed);
        third.activity.last_ms.store(20, Ordering::Relaxed);
        let held = second.busy();
        second.activity.last_ms.store(5, Ordering::Relaxed);

        let fourth = all.enter().unwrap();
        assert!(is_told_to_close(&first).await);
        assert!(!is_told_to_close(&second).await && !is_told_to_close(&third).await);

        let (_a, _b) = (third.busy(), fourth.busy());
        assert!(all.enter().is_none());
        drop(held);
        assert!(all.enter().is_some());
        assert!(is_told_to_close(&second).await);
    }

    #[tokio::test]
    async fn places_are_free_again() {
        let all = connections(1);
        for _ in 0..10 {
            let place = all.enter().unwrap();
            let _busy = place.busy();
            assert!(all.enter().is_none());
        }
        assert!(all.is_empty());
    }
}
