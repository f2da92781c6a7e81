//! A running trainer: a [`Manager`], the threads that do its tasks, and a [`Link`] to the broker.
//!
//! ```text
//! broker -> link -> hwmeter-trainer: receive, tick -> manager (one lock, held for microseconds)
//!                   hwmeter-learn-*, -open, -write: next -> run (without the lock) -> done
//! manager -> whoever changed it says at once what it wants said -> link -> broker
//! ```
//!
//! Nobody polls: a thread with nothing to do sleeps until there is something for it.

use super::link::{Event, Link, NotQueued};
use super::lock;
use super::manager::{Config, Lane, Manager, Output, TICK, Totals};
use super::store::Store;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How soon what the link had no room for is tried again.
const SOON: Duration = Duration::from_millis(5);
/// How long goodbyes to the broker may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// A trainer at work. [`stop`](Self::stop) it, or it ends with the process like one that crashed.
pub struct Trainer {
    ending: Arc<AtomicBool>,
    shared: Arc<Shared>,
    thread: JoinHandle<Totals>,
}

struct Shared {
    manager: Mutex<Manager>,
    /// One per lane, by its number.
    wakes: [Condvar; Lane::ALL.len()],
    store: Store,
    link: Link,
    is_over: AtomicBool,
}

impl Trainer {
    /// Begins to train: `link` and `events` are a connection of its own to the broker, `learners` how many threads do
    /// updates, `grace` how long at the end storing may take.
    pub fn start(
        config: Config,
        store: Store,
        link: Link,
        events: Receiver<Event>,
        learners: usize,
        grace: Duration,
    ) -> std::io::Result<Self> {
        if let Some(price) = &config.price {
            price.watch()?;
        }
        let everything = Arc::new(Shared {
            manager: Mutex::new(Manager::new(config)),
            wakes: Default::default(),
            store,
            link,
            is_over: AtomicBool::new(false),
        });
        let mut threads = Vec::new();
        let parallel = everything.store.parallel();
        for lane in Lane::ALL {
            let (name, n) = match lane {
                Lane::Learn => ("learn", learners.max(1)),
                Lane::Open => ("open", parallel),
                Lane::Write => ("write", parallel),
            };
            for i in 0..n {
                let shared = Arc::clone(&everything);
                threads.push(spawn(format!("hwmeter-{name}-{i}"), move || shared.work(lane))?);
            }
        }
        let ending = Arc::new(AtomicBool::new(false));
        let is_asked = Arc::clone(&ending);
        let shared = Arc::clone(&everything);
        let thread = spawn("hwmeter-trainer".to_owned(), move || {
            shared.listen(&events, &is_asked);
            // A store that does not answer is not waited for.
            if shared.end(&events, grace) {
                for thread in threads {
                    // One that panicked has said so.
                    let _ = thread.join();
                }
            }
            shared.lock().totals()
        })?;
        Ok(Self {
            ending,
            shared: everything,
            thread,
        })
    }

    /// How it goes.
    pub fn totals(&self) -> Totals {
        self.shared.lock().totals()
    }

    /// Learns no more, stores every learner, says so, and ends.
    pub fn stop(self) -> Totals {
        self.ending.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name).spawn(run)
}

impl Shared {
    /// A thread of a lane: one task after the other.
    fn work(&self, lane: Lane) {
        let mut manager = self.lock();
        while !self.is_over.load(Ordering::Acquire) {
            let task = manager.next(lane, Instant::now());
            // Room for one learner may need that another is stored.
            self.wake(&manager, Some(lane));
            let Some(task) = task else {
                let woken = self.wakes[lane as usize].wait(manager);
                manager = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(manager);
            let done = task.run(&self.store);
            manager = self.lock();
            manager.done(done, Instant::now());
            self.say(&mut manager);
            self.wake(&manager, Some(lane));
        }
    }

    /// Takes what comes, until the end is asked for.
    fn listen(&self, events: &Receiver<Event>, is_asked: &AtomicBool) {
        let mut ticked = Instant::now();
        while !is_asked.load(Ordering::Acquire) {
            if !self.step(events, &mut ticked) {
                tracing::error!("the connection to the broker has ended: nothing can be learned any more");
                return;
            }
        }
    }

    /// What comes next, or what is due; whether more can come.
    fn step(&self, events: &Receiver<Event>, ticked: &mut Instant) -> bool {
        let has_output = self.lock().has_output();
        let until = if has_output {
            SOON
        } else {
            TICK.saturating_sub(ticked.elapsed())
        };
        let event = events.recv_timeout(until);
        let now = Instant::now();
        let mut manager = self.lock();
        match event {
            Ok(event) => take(&mut manager, event, now),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        if now - *ticked >= TICK {
            *ticked = now;
            manager.tick(now);
        }
        self.say(&mut manager);
        self.wake(&manager, None);
        true
    }

    /// Stores what is not stored, as long as there is time, and says goodbye; whether all is stored.
    fn end(&self, events: &Receiver<Event>, grace: Duration) -> bool {
        let began = Instant::now();
        self.lock().stop(began);
        let mut ticked = began;
        while began.elapsed() < grace && !self.lock().is_stored() {
            // What comes is not learned from; the device keeps it.
            if !self.step(events, &mut ticked) {
                std::thread::sleep(SOON);
            }
        }
        let mut manager = self.lock();
        let is_stored = manager.is_stored();
        if !is_stored {
            tracing::error!("not every learner is stored: their devices will send again what is missing");
        }
        manager.farewell(Instant::now());
        self.say(&mut manager);
        self.is_over.store(true, Ordering::Release);
        self.wakes.iter().for_each(Condvar::notify_all);
        drop(manager);
        let unsent = self.link.stop(GOODBYE);
        if unsent > 0 {
            tracing::warn!("{unsent} messages could not be sent any more");
        }
        is_stored
    }

    /// Hands to the link what it has room for. Under the lock, so that everything stays in order; nothing is copied.
    fn say(&self, manager: &mut Manager) {
        while let Some(output) = manager.output() {
            let said = match &output {
                Output::Publish(out) => self.link.publish(&out.topic, out.payload.clone(), out.retain),
                Output::Subscribe(filter) => self.link.subscribe(filter),
                Output::Unsubscribe(filter) => self.link.unsubscribe(filter),
            };
            match said {
                Ok(()) => {}
                Err(NotQueued::Full) => return manager.put_back(output),
                Err(why) => tracing::warn!("a message was not sent: {why}"),
            }
        }
    }

    /// Wakes one thread of each lane that has something to do.
    fn wake(&self, manager: &Manager, own: Option<Lane>) {
        for lane in Lane::ALL {
            // Another learner may be able to go on beside this one; one more to be opened may have to wait for room.
            if (own != Some(lane) || lane != Lane::Open) && manager.has_task(lane) {
                self.wakes[lane as usize].notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Manager> {
        lock(&self.manager)
    }
}

fn take(manager: &mut Manager, event: Event, now: Instant) {
    match event {
        Event::Message {
            topic,
            payload,
            retained,
        } => manager.receive(&topic, payload, retained, now),
        Event::Connected => {
            tracing::info!("connected to the broker");
            manager.connected();
        }
        Event::Disconnected(why) => tracing::warn!("{why}"),
        Event::Trouble(why) => tracing::warn!("{why}"),
    }
}
