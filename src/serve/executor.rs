//! Runs tasks on threads of their own: only so many at once, only so many waiting, none for ever.
//!
//! A request first gets a [`Ticket`], before its body is read, so that the memory of all payloads together is
//! bounded. The ticket then runs one job. A job is told to stop when its deadline passes, when it hits the wall
//! limit, when its request is dropped because the client hung up, and when the server ends.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

/// Shared by all requests; clones are handles to the same executor.
#[derive(Clone)]
pub(super) struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    workers: NonZeroUsize,
    wall_limit: Duration,
    /// One permit per task that may be here at all, receiving, waiting or running.
    places: Arc<Semaphore>,
    /// One permit per task that may run.
    free_workers: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
}

/// How many tasks are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub waiting: usize,
    pub running: usize,
    pub workers: usize,
}

/// The right to run one job.
pub(super) struct Ticket {
    executor: Executor,
    place: OwnedSemaphorePermit,
}

/// A job that ran to its end.
#[derive(Debug)]
pub(super) struct Finished<T> {
    pub value: T,
    pub queued: Duration,
    pub ran: Duration,
}

/// Why a job has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    DeadlineWaiting,
    DeadlineRunning,
    WallLimit,
    Ending,
    Crashed,
}

impl Executor {
    pub fn new(workers: NonZeroUsize, queue: usize, wall_limit: Duration) -> Self {
        let places = workers.get().saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            workers,
            wall_limit,
            places: Arc::new(Semaphore::new(places)),
            free_workers: Arc::new(Semaphore::new(workers.get().min(Semaphore::MAX_PERMITS))),
            waiting: Arc::default(),
            running: Arc::default(),
            ending: Arc::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A ticket, unless all workers and all places in the queue are taken.
    pub fn admit(&self) -> Option<Ticket> {
        let place = Arc::clone(&self.shared.places).try_acquire_owned().ok()?;
        Some(Ticket {
            executor: self.clone(),
            place,
        })
    }

    pub fn counts(&self) -> Counts {
        Counts {
            waiting: self.shared.waiting.load(Ordering::Relaxed),
            running: self.shared.running.load(Ordering::Relaxed),
            workers: self.shared.workers.get(),
        }
    }

    /// Tells every job to stop.
    pub fn stop_all(&self) {
        self.shared.ending.store(true, Ordering::Relaxed);
    }
}

impl Ticket {
    /// Waits for a worker and runs `job`, which asks its argument now and then whether to stop.
    pub async fn run<T: Send + 'static>(
        self,
        deadline: Option<Instant>,
        job: impl FnOnce(&dyn Fn() -> bool) -> Option<T> + Send + 'static,
    ) -> Result<Finished<T>, Unfinished> {
        let asked = Instant::now();
        let worker = self.wait_for_worker(deadline).await?;
        let started = Instant::now();
        let shared = Arc::clone(&self.executor.shared);
        let wall_limit = started + shared.wall_limit;
        let give_up = deadline.map_or(wall_limit, |deadline| deadline.min(wall_limit));

        let hung_up = StopOnDrop::default();
        let dropped = Arc::clone(&hung_up.flag);
        let running = Counted::new(&shared.running);
        let ending = Arc::clone(&shared.ending);
        let thread = tokio::task::spawn_blocking(move || {
            // The thread holds these, not the request: a job whose client hung up occupies its worker until it
            // has really ended.
            let _held = (worker, self.place, running);
            let stop = || {
                dropped.load(Ordering::Relaxed) || ending.load(Ordering::Relaxed) || Instant::now() >= give_up
            };
            let value = job(&stop);
            (value, started.elapsed())
        });
        match thread.await {
            Ok((Some(value), ran)) => Ok(Finished {
                value,
                queued: started - asked,
                ran,
            }),
            Ok((None, _)) if shared.ending.load(Ordering::Relaxed) => Err(Unfinished::Ending),
            Ok((None, _)) if give_up < wall_limit => Err(Unfinished::DeadlineRunning),
            Ok((None, _)) => Err(Unfinished::WallLimit),
            Err(_) => Err(Unfinished::Crashed),
        }
    }

    async fn wait_for_worker(&self, deadline: Option<Instant>) -> Result<OwnedSemaphorePermit, Unfinished> {
        let shared = &self.executor.shared;
        let _waiting = Counted::new(&shared.waiting);
        let worker = Arc::clone(&shared.free_workers).acquire_owned();
        let worker = match deadline {
            Some(deadline) if deadline <= Instant::now() => return Err(Unfinished::DeadlineWaiting),
            Some(deadline) => timeout_at(deadline.into(), worker)
                .await
                .map_err(|_| Unfinished::DeadlineWaiting)?,
            None => worker.await,
        };
        // The semaphore is never closed.
        worker.map_err(|_| Unfinished::Ending)
    }
}

/// Counts up while it lives.
struct Counted {
    count: Arc<AtomicUsize>,
}

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self {
            count: Arc::clone(count),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sets its flag when the request that owns it ends, in whatever way.
#[derive(Default)]
struct StopOnDrop {
    flag: Arc<AtomicBool>,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn executor(workers: usize, queue: usize) -> Executor {
        Executor::new(
            NonZeroUsize::new(workers).unwrap(),
            queue,
            Duration::from_millis(300),
        )
    }

    /// A job that never ends by itself.
    fn endless(stop: &dyn Fn() -> bool) -> Option<u64> {
        while !stop() {
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        for _ in 0..2000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("not within 2 s: {what}");
    }

    #[tokio::test]
    async fn a_job_gives_its_value_and_times() {
        let ticket = executor(1, 0).admit().unwrap();
        let job = |_: &dyn Fn() -> bool| {
            std::thread::sleep(Duration::from_millis(20));
            Some(7)
        };
        let done = ticket.run(None, job).await.unwrap();
        assert_eq!(done.value, 7);
        assert!(done.ran >= Duration::from_millis(20));
    }

    #[tokio::test]
    async fn there_are_only_so_many_places() {
        let executor = executor(1, 1);
        let running = tokio::spawn(executor.admit().unwrap().run(None, endless));
        until("one runs", || executor.counts().running == 1).await;
        let waiting = tokio::spawn(executor.admit().unwrap().run(None, |_| Some(1)));
        until("one waits", || executor.counts().waiting == 1).await;
        assert!(executor.admit().is_none());

        running.abort();
        let done = waiting.await.unwrap().unwrap();
        assert!(done.queued > Duration::ZERO);
        until("all gone", || {
            executor.counts()
                == Counts {
                    waiting: 0,
                    running: 0,
                    workers: 1,
                }
        })
        .await;
        assert!(executor.admit().is_some());
    }

    #[tokio::test]
    async fn every_limit_stops_a_job_and_says_which() {
        let executor = executor(1, 1);
        let soon = || Some(Instant::now() + Duration::from_millis(30));
        let outcome = executor.admit().unwrap().run(soon(), endless).await;
        assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineRunning);

        let outcome = executor
            .admit()
            .unwrap()
            .run(Some(Instant::now()), |_| Some(1))
            .await;
        assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineWaiting);

        let long = tokio::spawn(executor.admit().unwrap().run(None, endless));
        until("it runs", || executor.counts().running == 1).await;
        let outcome = executor.admit().unwrap().run(soon(), |_| Some(1)).await;
        assert_eq!(outcome.unwrap_err(), Unfinished::DeadlineWaiting);
        assert_eq!(long.await.unwrap().unwrap_err(), Unfinished::WallLimit);

        let crash =
            |_: &dyn Fn() -> bool| -> Option<u64> { panic!("a kernel with a bug (this is part of a test)") };
        let outcome = executor.admit().unwrap().run(None, crash).await;
        assert_eq!(outcome.unwrap_err(), Unfinished::Crashed);

        let ended = tokio::spawn(executor.admit().unwrap().run(None, endless));
        until("it runs", || executor.counts().running == 1).await;
        executor.stop_all();
        assert_eq!(ended.await.unwrap().unwrap_err(), Unfinished::Ending);
    }
}
