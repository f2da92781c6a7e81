//! Pinning every thread of a process. In a process of its own: other tests would be pinned with it.
#![allow(clippy::unwrap_used)]

use hwmeter_hw::Root;
use hwmeter_hw::blas::Gemm;
use hwmeter_hw::blas::bench::Precision;
use hwmeter_hw::blas::builtin::Builtin;
use hwmeter_hw::blas::plan::{Case, Machine, Place};
use hwmeter_hw::blas::rows::{Setup, time};
use hwmeter_hw::blas::sizes::{Bounds, Fit, Size};
use hwmeter_hw::caches::Caches;
use hwmeter_hw::clusters::{Cluster, Pinned};
use hwmeter_hw::cpu::Affinity;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that says on which CPUs it may run whenever it is asked.
struct Witness {
    ask: Sender<()>,
    answer: Mutex<Receiver<Vec<usize>>>,
    thread: JoinHandle<()>,
}

impl Witness {
    fn start() -> Self {
        let (ask, asked) = channel();
        let (tell, answer) = channel();
        let thread = std::thread::spawn(move || {
            for () in asked {
                tell.send(Affinity::current().unwrap()).unwrap();
            }
        });
        Self {
            ask,
            answer: answer.into(),
            thread,
        }
    }

    fn cpus(&self) -> Vec<usize> {
        self.ask.send(()).unwrap();
        self.answer
            .lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(10))
            .unwrap()
    }

    fn end(self) {
        drop(self.ask);
        self.thread.join().unwrap();
    }
}

/// One test, because both halves pin the whole process.
#[test]
fn all_threads_are_pinned_and_get_their_own_set_back() {
    let before = Affinity::current().unwrap();
    let one = &before[..1];
    let old = Witness::start();
    assert_eq!(old.cpus(), before);

    let pinned = Pinned::to(one).unwrap();
    assert_eq!(
        (Affinity::current().unwrap(), old.cpus()),
        (one.to_vec(), one.to_vec())
    );
    let new = Witness::start();
    assert_eq!(new.cpus(), one);
    drop(pinned);
    assert_eq!(
        [Affinity::current().unwrap(), old.cpus(), new.cpus()],
        [before.clone(), before.clone(), before.clone()]
    );
    let nowhere = Pinned::to(&[usize::from(u8::MAX)]).map(drop).unwrap_err();
    assert!(nowhere.to_string().contains("CPU 255"), "{nowhere}");

    a_cluster_is_timed_where_it_is(&before, &old);
    assert_eq!(old.cpus(), before);
    old.end();
    new.end();
}

/// Sees where a product runs.
struct Looker<'a>(&'a Witness, Mutex<Vec<usize>>);

impl Gemm for Looker<'_> {
    fn provider(&self) -> hwmeter_hw::blas::Provider {
        Builtin::new().provider()
    }
    fn name(&self) -> String {
        "looker".to_owned()
    }
    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], threads: usize) -> hwmeter_hw::Result<()> {
        *self.1.lock().unwrap() = self.0.cpus();
        Builtin::new().sgemm(n, a, b, c, threads)
    }
    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], threads: usize) -> hwmeter_hw::Result<()> {
        Builtin::new().dgemm(n, a, b, c, threads)
    }
}

fn a_cluster_is_timed_where_it_is(before: &[usize], witness: &Witness) {
    let cluster = Cluster {
        name: "little".to_owned(),
        cpus: vec![before[before.len() - 1]],
    };
    let root = Root::default();
    let machine = Machine {
        clusters: vec![cluster.clone()],
        caches: Caches::read(&root, before),
        bounds: Bounds {
            memory_bytes: 1 << 20,
            operations: 1e9,
        },
    };
    let case = Case {
        precision: Precision::Sgemm,
        size: Size { n: 32, fit: Fit::L1 },
        place: Place::Cluster(cluster.clone()),
    };
    let setup = Setup {
        root: &root,
        meter: None,
        budget: Duration::from_millis(5),
    };
    let looker = Looker(witness, Vec::new().into());
    let row = time(&looker, &case, &machine, setup).unwrap();
    assert_eq!((row.cluster.as_deref(), row.threads), (Some("little"), Some(1)));
    assert_eq!(*looker.1.lock().unwrap(), cluster.cpus);
}
