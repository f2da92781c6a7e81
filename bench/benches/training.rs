//! Training on the MEC: how soon an experience is in the weights, by broker and codec, what a thousand devices take, and
//! what a learner takes that waits in the store.
//!
//! Devices, broker and trainer share this machine. The goals: DQN 4x256 p50 5 ms and p99 20 ms, AC 2x64 p50 2 ms at
//! Mosquitto, the embedded broker within 1.5 times of it; 1,000 devices at an experience a second each under 60 % of a
//! core; an idle learner takes no more memory than its checkpoint has bytes. Without Mosquitto its lines are missing.
//! Joules are those of trainer and embedded broker, by their CPU time, above the idle machine. `--test` runs everything
//! for a moment only.

#[path = "training/idle.rs"]
mod idle;

use hwmeter::learn::{LearnerName, Settings};
use hwmeter::train::broker::{Broker, BrokerConfig};
use hwmeter::train::energy::{self, Price};
use hwmeter::train::fleet::{self, FleetConfig, FleetReport};
use hwmeter::train::link::{Link, LinkConfig};
use hwmeter::train::manager::Config;
use hwmeter::train::store::Store;
use hwmeter::train::trainer::Trainer;
use hwmeter::train::wire::Codec;
use hwmeter_hw::Root;
use hwmeter_hw::clock::{Clock, MonotonicClock};
use hwmeter_hw::cpu_price::CpuPrice;
use hwmeter_hw::discover;
use hwmeter_hw::sensors::Context;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where Debian has it; not everybody looks there.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";
/// Experiences of the only device per second: each is done before the next comes.
const ALONE_HZ: f64 = 50.0;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (seconds, devices) = if is_test { (0.5, 20) } else { (10.0, 1000) };
    let duration = Duration::from_secs_f64(seconds);
    // First, while the memory of this process is as good as empty.
    idle::report(if is_test { 50 } else { 2000 });
    let price = price();
    for broker in [Some(AnyBroker::embedded()), AnyBroker::mosquitto()]
        .into_iter()
        .flatten()
    {
        let trainer = Training::at(&broker, price.clone());
        let threads = threads();
        for (learner, codec) in [
            (LearnerName::Dqn, Codec::F32),
            (LearnerName::Dqn, Codec::F16),
            (LearnerName::Dqn, Codec::F32Zstd),
            (LearnerName::Ac, Codec::F32),
        ] {
            let cpu_before_s = cpu_s(&threads);
            let report = trainer.fleet(1, ALONE_HZ, learner, codec, duration);
            let cpu_s = cpu_s(&threads) - cpu_before_s;
            let what = format!("{:9} 1 device, {learner} {codec:?}", broker.name);
            print(&what, &report);
            println!("{what}: {}", joules_each(price.as_ref(), cpu_s, report.learned));
        }
        let before = Instant::now();
        let cpu_before_s = cpu_s(&threads);
        let report = trainer.fleet(devices, 1.0, LearnerName::Ac, Codec::F32, 2 * duration);
        let cores = (cpu_s(&threads) - cpu_before_s) / before.elapsed().as_secs_f64();
        print(&format!("{:9} {devices} devices, ac F32", broker.name), &report);
        println!(
            "{:9} {devices} devices: {} {:.0} % of a core (goal 60)",
            broker.name,
            broker.counted,
            100.0 * cores
        );
        trainer.trainer.stop();
    }
}

fn print(what: &str, report: &FleetReport) {
    let ms = |s: Option<f64>| s.map_or("-".to_owned(), |s| format!("{:.2}", 1e3 * s));
    println!(
        "{what}: new weights after p50 {} ms, p99 {} ms; {:.0} B up, {:.0} B down each; {} of {} learned",
        ms(report.update_p50_s),
        ms(report.update_p99_s),
        report.bytes_up_each,
        report.bytes_down_each,
        report.learned,
        report.experiences
    );
}

/// What a CPU second costs here, if anything on this machine tells.
fn price() -> Option<Price> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock);
    let context = Context::new(Root::default(), Arc::clone(&clock));
    let found = discover::discover(&context);
    let board = discover::open(&context, &discover::default_sensor(&found)?.id).ok()?;
    let info = board.info();
    println!("joules: by {} ({})", info.id, info.kind);
    let price = CpuPrice::new(board, info.idle?, &context.root, clock).ok()?;
    Some(Price::of(price))
}

fn joules_each(price: Option<&Price>, cpu_s: f64, updates: u64) -> String {
    if updates == 0 {
        return "nothing was learned".to_owned();
    }
    let cpu = Duration::from_secs_f64(cpu_s.max(0.0) / updates as f64);
    match price.and_then(|price| price.joules(cpu)) {
        Some(joules) => format!(
            "{:.0} µs of CPU and {:.3} mJ ({}) each",
            1e6 * cpu.as_secs_f64(),
            1e3 * joules,
            energy::KIND
        ),
        None => format!("{:.0} µs of CPU each; no sensor here", 1e6 * cpu.as_secs_f64()),
    }
}

/// A broker, its link for the trainer, and whose CPU time is counted with the trainer's.
struct AnyBroker {
    name: &'static str,
    counted: &'static str,
    url: String,
    trainer: LinkConfig,
    _embedded: Option<Broker>,
    _program: Option<Program>,
}

impl AnyBroker {
    fn embedded() -> Self {
        let broker = Broker::start(&BrokerConfig::new()).expect("a broker");
        Self {
            name: "embedded",
            counted: "trainer and broker use",
            url: format!("mqtt://{}", broker.address()),
            trainer: broker.own_link(),
            _embedded: Some(broker),
            _program: None,
        }
    }

    fn mosquitto() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let dir = tempfile::tempdir().expect("a folder");
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n",
            address.port()
        );
        std::fs::write(dir.path().join("conf"), config).expect("room on the disk");
        let mut command = Command::new(MOSQUITTO);
        command
            .arg("-c")
            .arg(dir.path().join("conf"))
            .stderr(Stdio::null());
        let program = Program(command.spawn().ok()?);
        let give_up = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).is_err() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(10));
        }
        let url = format!("mqtt://{address}");
        Some(Self {
            name: "mosquitto",
            counted: "the trainer uses",
            trainer: LinkConfig::new(url.parse().expect("an address"), "trainer"),
            url,
            _embedded: None,
            _program: Some(program),
        })
    }
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A trainer at a broker.
struct Training {
    trainer: Trainer,
    url: String,
    _state: TempDir,
}

impl Training {
    fn at(broker: &AnyBroker, price: Option<Price>) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let store = Store::folder(state.path()).expect("a store");
        let (link, events) = Link::start(broker.trainer.clone()).expect("a link");
        let mut config = Config::new("bench".parse().expect("a name"));
        config.price = price;
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let trainer =
            Trainer::start(config, store, link, events, cores, Duration::from_secs(10)).expect("threads");
        Self {
            trainer,
            url: broker.url.clone(),
            _state: state,
        }
    }

    fn fleet(
        &self,
        devices: usize,
        rate_hz: f64,
        learner: LearnerName,
        codec: Codec,
        duration: Duration,
    ) -> FleetReport {
        let mut link = LinkConfig::new(self.url.parse().expect("an address"), "device");
        link.clean = true;
        let config = FleetConfig {
            link,
            name: format!("{learner}-{codec:?}-{devices}"),
            devices,
            rate_hz,
            learner,
            settings: Settings::default(),
            codec,
            sync_every: 1,
        };
        fleet::run(&config, &|elapsed| elapsed >= duration).expect("the devices connect")
    }
}

/// The threads of this process that are there now, those of trainer and embedded broker; without this one and those that
/// it will start, which play the devices.
fn threads() -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names = all
        .flatten()
        .map(|thread| thread.file_name().to_string_lossy().into_owned());
    names.filter(|id| *id != std::process::id().to_string()).collect()
}

/// Seconds of CPU that they have used.
fn cpu_s(threads: &[String]) -> f64 {
    let run_ns = |id: &String| {
        let schedstat = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<f64>().ok()
    };
    1e-9 * threads.iter().filter_map(run_ns).sum::<f64>()
}
