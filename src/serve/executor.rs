//! Runs tasks on threads of their own: only so many at once, only so many waiting, none for ever. One that takes
//! less than the way to another thread and back runs where it is.
//!
//! A request gets a [`Ticket`] once its body is there, so that whoever sends slowly takes no place from others; it is
//! refused before its body is read if there is no ticket to be had at that time. The ticket then runs one job. A job is
//! told to stop when its deadline passes, when it hits a limit, when its request is dropped because the client hung up,
//! and when the server ends.

use crate::task::Limits;
use crate::task::pacer::thread_cpu_time;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    limits: Limits,
    /// One permit per task that may be here at all, waiting or running.
    places: Arc<Semaphore>,
    places_in_all: usize,
    /// One permit per task that may run. Closed when the server ends.
    free_workers: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    /// No further tasks are let in.
    is_closing: AtomicBool,
    /// Those that are here must stop.
    is_ending: AtomicBool,
}

/// How many tasks are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub waiting: usize,
    pub running: usize,
    pub workers: usize,
}

/// How long a job takes, as far as that is known before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Some microseconds.
    Brief,
    Any,
}

/// The right to run one job.
pub(super) struct Ticket {
    executor: Executor,
    place: OwnedSemaphorePermit,
}

/// Why there is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    QueueFull,
    Stopping,
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
    CpuLimit,
    WallLimit,
    Ending,
    /// The request is gone; nobody is there to be told.
    Abandoned,
    Crashed,
}

impl Executor {
    pub fn new(workers: NonZeroUsize, queue: usize, limits: Limits) -> Self {
        let workers = workers.min(NonZeroUsize::new(MOST_PERMITS).unwrap_or(workers));
        let places = workers.get().saturating_add(queue).min(MOST_PERMITS);
        let shared = Shared {
            workers,
            limits,
            places: Arc::new(Semaphore::new(places)),
            places_in_all: places,
            free_workers: Arc::new(Semaphore::new(workers.get())),
            waiting: Arc::default(),
            running: Arc::default(),
            is_closing: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A ticket, unless all workers and all places in the queue are taken, or the server is stopping.
    pub fn admit(&self) -> Result<Ticket, Refused> {
        if self.is_closing() {
            return Err(Refused::Stopping);
        }
        let place = Arc::clone(&self.shared.places)
            .try_acquire_owned()
            .map_err(|_| Refused::QueueFull)?;
        Ok(Ticket {
            executor: self.clone(),
            place,
        })
    }

    /// Would there be a ticket now?
    pub fn has_room(&self) -> Result<(), Refused> {
        if self.is_closing() {
            return Err(Refused::Stopping);
        }
        match self.shared.places.available_permits() {
            0 => Err(Refused::QueueFull),
            _ => Ok(()),
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            waiting: self.shared.waiting.load(Ordering::Relaxed),
            running: self.shared.running.load(Ordering::Relaxed),
            workers: self.shared.workers.get(),
        }
    }

    /// From now on nobody gets a ticket.
    pub fn close(&self) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
    }

    pub fn is_closing(&self) -> bool {
        self.shared.is_closing.load(Ordering::Relaxed)
    }

    /// Completes when no ticket is out any more; meaningful only after [`Executor::close`].
    pub async fn all_done(&self) {
        let all = self.shared.places_in_all as u32;
        // An error would mean that the semaphore is closed, which it never is.
        let _ = self.shared.places.acquire_many(all).await;
    }

    /// Tells every job to stop, waiting or running, and lets no further ones in.
    pub fn stop_all(&self) {
        self.close();
        self.shared.is_ending.store(true, Ordering::Relaxed);
        self.shared.free_workers.close();
    }
}

/// A job that is told to stop has this long to do so. Then its client is told without it, and it keeps its worker until
/// it has really ended: a module that is being compiled cannot be interrupted.
const LATE: Duration = Duration::from_millis(100);

/// More permits than this no semaphore has; `u32` is what can be asked for at once.
pub(super) const MOST_PERMITS: usize = u32::MAX as usize >> 4;

impl Ticket {
    /// Waits for a worker and runs `job`, which asks its argument now and then whether to stop.
    pub async fn run<T: Send + 'static>(
        self,
        length: Length,
        deadline: Option<Instant>,
        job: impl FnOnce(&dyn Fn() -> bool) -> Option<T> + Send + 'static,
    ) -> Result<Finished<T>, Unfinished> {
        let asked = Instant::now();
        let worker = self.wait_for_worker(deadline).await?;
        let started = Instant::now();
        let queued = started - asked;
        let (value, ran) = match length {
            Length::Brief => self.run_here(worker, deadline, started, job)?,
            Length::Any => self.run_on_a_thread(worker, deadline, started, job).await?,
        };
        Ok(Finished { value, queued, ran })
    }

    /// Runs it on the calling thread: there and back again to another one would take longer than the job.
    fn run_here<T>(
        self,
        _worker: OwnedSemaphorePermit,
        deadline: Option<Instant>,
        started: Instant,
        job: impl FnOnce(&dyn Fn() -> bool) -> Option<T>,
    ) -> Result<(T, Duration), Unfinished> {
        let shared = &self.executor.shared;
        let _running = Counted::new(&shared.running);
        let watch = Watch::begin(shared, Arc::default(), deadline, started);
        // The job is not used again, whatever state a panic left it in.
        let value = catch_unwind(AssertUnwindSafe(|| watch.run(job))).map_err(|_| Unfinished::Crashed)??;
        Ok((value, started.elapsed()))
    }

    async fn run_on_a_thread<T: Send + 'static>(
        self,
        worker: OwnedSemaphorePermit,
        deadline: Option<Instant>,
        started: Instant,
        job: impl FnOnce(&dyn Fn() -> bool) -> Option<T> + Send + 'static,
    ) -> Result<(T, Duration), Unfinished> {
        let Self { executor, place } = self;
        let shared = executor.shared;
        let wall = shared.limits.wall;
        let running = Counted::new(&shared.running);
        let request = DropFlag::default();
        let is_abandoned = Arc::clone(&request.is_dropped);
        let thread = tokio::task::spawn_blocking(move || {
            // The thread holds these, not the request: a job whose client hung up occupies its worker until it
            // has really ended.
            let _held = (worker, place, running);
            let watch = Watch::begin(&shared, is_abandoned, deadline, started);
            (watch.run(job), started.elapsed())
        });
        let (until, late) = end_of(deadline, started + wall);
        match timeout_at((until + LATE).into(), thread)
            .await
            .map_err(|_| late)?
        {
            Ok((value, ran)) => Ok((value?, ran)),
            Err(_) => Err(Unfinished::Crashed),
        }
    }

    async fn wait_for_worker(&self, deadline: Option<Instant>) -> Result<OwnedSemaphorePermit, Unfinished> {
        let shared = &self.executor.shared;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Unfinished::DeadlineWaiting);
        }
        if let Ok(worker) = Arc::clone(&shared.free_workers).try_acquire_owned() {
            return Ok(worker);
        }
        let _waiting = Counted::new(&shared.waiting);
        let worker = Arc::clone(&shared.free_workers).acquire_owned();
        let worker = match deadline {
            Some(deadline) => timeout_at(deadline.into(), worker)
                .await
                .map_err(|_| Unfinished::DeadlineWaiting)?,
            None => worker.await,
        };
        worker.map_err(|_| Unfinished::Ending)
    }
}

/// When a job has to be over, and what to say if it is not.
fn end_of(deadline: Option<Instant>, wall_limit: Instant) -> (Instant, Unfinished) {
    match deadline {
        Some(deadline) if deadline <= wall_limit => (deadline, Unfinished::DeadlineRunning),
        _ => (wall_limit, Unfinished::WallLimit),
    }
}

/// Watches over one job, on its thread.
struct Watch<'a> {
    shared: &'a Shared,
    is_abandoned: Arc<AtomicBool>,
    deadline: Option<Instant>,
    wall_limit: Instant,
    /// Before then the CPU limit cannot be reached: CPU time passes no faster than time.
    cpu_check: Cell<Instant>,
    cpu_limit: Duration,
    why: Cell<Option<Unfinished>>,
}

impl<'a> Watch<'a> {
    fn begin(
        shared: &'a Shared,
        is_abandoned: Arc<AtomicBool>,
        deadline: Option<Instant>,
        started: Instant,
    ) -> Self {
        let Limits { cpu, wall, .. } = shared.limits;
        Self {
            shared,
            is_abandoned,
            deadline,
            wall_limit: started + wall,
            cpu_check: Cell::new(started + cpu),
            cpu_limit: thread_cpu_time() + cpu,
            why: Cell::new(None),
        }
    }

    fn run<T>(&self, job: impl FnOnce(&dyn Fn() -> bool) -> Option<T>) -> Result<T, Unfinished> {
        // A job that gives up although nobody asked it to has a bug.
        job(&|| self.must_stop()).ok_or_else(|| self.why.get().unwrap_or(Unfinished::Crashed))
    }

    fn must_stop(&self) -> bool {
        if self.why.get().is_none() {
            self.why.set(self.reason());
        }
        self.why.get().is_some()
    }

    fn reason(&self) -> Option<Unfinished> {
        if self.is_abandoned.load(Ordering::Relaxed) {
            return Some(Unfinished::Abandoned);
        }
        if self.shared.is_ending.load(Ordering::Relaxed) {
            return Some(Unfinished::Ending);
        }
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Some(Unfinished::DeadlineRunning);
        }
        if now >= self.wall_limit {
            return Some(Unfinished::WallLimit);
        }
        self.is_cpu_used_up(now).then_some(Unfinished::CpuLimit)
    }

    fn is_cpu_used_up(&self, now: Instant) -> bool {
        if now < self.cpu_check.get() {
            return false;
        }
        let left = self.cpu_limit.saturating_sub(thread_cpu_time());
        self.cpu_check.set(now + left);
        left.is_zero()
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
struct DropFlag {
    is_dropped: Arc<AtomicBool>,
}

impl Drop for DropFlag {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
