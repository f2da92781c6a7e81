//! Servers and links inside the test process, and small helpers.
#![allow(clippy::unwrap_used, dead_code)]

pub mod child;
pub mod runs;

use hwmeter::offload::link::conditions::Conditions;
use hwmeter::offload::link::profile::Profile;
use hwmeter::offload::{LinkConfig, Url, link};
use hwmeter::serve::{self, Role, ServeConfig};
use hwmeter::task::{Kernel, Work};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A piece of work that is done in no time.
pub static SMALL: LazyLock<Work> = LazyLock::new(|| Work::one(Kernel::Sha256, 1, 5));
/// One that never ends by itself.
pub static ENDLESS: LazyLock<Work> = LazyLock::new(|| Work::one(Kernel::Sha256, u64::MAX, 5));
/// Long enough for anything that should happen at all.
pub const PLENTY: Duration = Duration::from_secs(10);

/// Something that listens on a thread of its own until dropped.
pub struct Listening {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    fn start(run: impl FnOnce(&mut dyn FnMut(SocketAddr), oneshot::Receiver<()>) + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = channel();
        let thread = std::thread::spawn(move || run(&mut |address| ready.send(address).unwrap(), stopped));
        let address = address.recv_timeout(PLENTY).unwrap();
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn url(&self) -> Url {
        format!("http://{}", self.address).parse().unwrap()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A MEC with one worker and one place in its queue.
pub fn small_mec() -> Listening {
    let mut config = ServeConfig::new(Role::Mec);
    config.workers = 1.try_into().unwrap();
    config.queue = 1;
    config.max_payload = 1 << 20;
    server(config)
}

pub fn server(config: ServeConfig) -> Listening {
    Listening::start(move |ready, stop| {
        serve::run(config, ready, async {
            let _ = stop.await;
        })
        .unwrap();
    })
}

pub fn link_to(to: SocketAddr, one_way: Duration, rate_bps: f64) -> Listening {
    let conditions = Conditions {
        latency_s: one_way.as_secs_f64(),
        rate_bps,
        ..Conditions::IDEAL
    };
    link_with(to, Profile::constant(conditions).unwrap(), 50)
}

pub fn link_with(to: SocketAddr, profile: Profile, seed: u64) -> Listening {
    let config = LinkConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        to,
        profile,
        seed,
    };
    Listening::start(move |ready, stop| {
        link::run(config, ready, async {
            let _ = stop.await;
        })
        .unwrap();
    })
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PLENTY, what, condition);
}

/// Waits until `condition` holds, at most for so long.
#[track_caller]
pub fn until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < give_up, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Is the tool there? If not, says so; where everything must be tested, fails.
pub fn have(tool: &str, package: &str) -> bool {
    if std::process::Command::new(tool).arg("--version").output().is_ok() {
        return true;
    }
    assert!(
        std::env::var("HWMETER_TEST_REQUIRE").as_deref() != Ok("all"),
        "{tool} is missing"
    );
    eprintln!("skipped: needs {tool} (apt install {package})");
    false
}

/// Bytes that no compression or coincidence can stand for.
pub fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
