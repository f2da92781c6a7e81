//! Rows on made-up boards, with the real engine that is always there.

use super::*;
use crate::blas::builtin::Builtin;
use crate::blas::check_lengths;
use crate::clock::Moment;
use crate::uncertainty::{Budget, Energy};
use crate::units::{Joules, Seconds};

/// Says it is a GPU, or has no threads; never multiplies.
struct Fake(Provider, usize);

impl Gemm for Fake {
    fn provider(&self) -> Provider {
        self.0
    }
    fn name(&self) -> String {
        "fake".to_owned()
    }
    fn max_threads(&self) -> usize {
        self.1
    }
    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], _: usize) -> Result<()> {
        check_lengths(n, [a.len(), b.len(), c.len()])
    }
    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], _: usize) -> Result<()> {
        check_lengths(n, [a.len(), b.len(), c.len()])
    }
}

fn machine(clusters: &[(&str, &[usize])]) -> Machine {
    Machine {
        clusters: clusters
            .iter()
            .map(|(name, cpus)| Cluster {
                name: (*name).to_owned(),
                cpus: cpus.to_vec(),
            })
            .collect(),
        caches: Caches {
            levels: [(1, 32 << 10), (2, 256 << 10)].into(),
            are_assumed: false,
        },
        bounds: Bounds {
            memory_bytes: 1 << 30,
            operations: 1e12,
        },
    }
}

fn told(cases: &[Case]) -> Vec<String> {
    let one = |case: &Case| format!("{} {} {:?}", case.precision, case.size.fit, case.place);
    cases.iter().map(one).collect()
}

#[test]
fn a_plan_has_every_size_and_place() {
    let (cases, notes) = plan(&Builtin::new(), &machine(&[("all", &[0, 1])]));
    let places = if all_threads() > 1 { 2 } else { 1 };
    assert_eq!(cases.len(), 2 * 3 * places);
    assert!(notes.is_empty());
    assert_eq!(told(&cases)[0], "SGEMM L1 OneThread");
}

#[test]
fn clusters_get_cases_where_there_are_several() {
    let machine = machine(&[("big", &[2]), ("little", &[0, 1])]);
    let (cases, _) = plan(&Fake(Provider::Blis, 1), &machine);
    let places: Vec<&Place> = cases[..2].iter().map(|case| &case.place).collect();
    assert_eq!(*places[0], Place::OneThread);
    // A library without threads cannot use the two little cores.
    assert!(matches!(places[1], Place::Cluster(cluster) if cluster.name == "big"));
    let (cases, _) = plan(&Fake(Provider::OpenBlas, usize::MAX), &machine);
    let little = cases
        .iter()
        .find(|case| matches!(&case.place, Place::Cluster(cluster) if cluster.name == "little"));
    assert_eq!(little.unwrap().threads(), 2);
}

#[test]
fn a_gpu_gets_large_sizes_and_no_threads() {
    let machine = machine(&[("all", &[0, 1])]);
    let gpu = Fake(Provider::Cublas, 1);
    let (cases, _) = plan(&gpu, &machine);
    assert_eq!(
        told(&cases),
        [
            "SGEMM L2 Gpu",
            "SGEMM memory Gpu",
            "DGEMM L2 Gpu",
            "DGEMM memory Gpu"
        ]
    );
    let root = Root::new("/nonexistent");
    let setup = Setup {
        root: &root,
        meter: None,
        budget: Duration::ZERO,
    };
    let row = time(&gpu, &cases[0], &machine, setup).unwrap();
    assert_eq!((row.threads, row.fit, row.peak_share), (None, None, None));
}

#[test]
fn a_row_has_speed_theory_and_conditions() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let cpu0 = "/sys/devices/system/cpu/cpu0";
    for (path, content) in [
        (
            "/proc/cpuinfo".to_owned(),
            "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd08\n",
        ),
        (format!("{cpu0}/cpufreq/cpuinfo_max_freq"), "1500000\n"),
        (
            "/sys/class/thermal/thermal_zone0/type".to_owned(),
            "cpu-thermal\n",
        ),
        ("/sys/class/thermal/thermal_zone0/temp".to_owned(), "51000\n"),
    ] {
        let path = root.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let machine = machine(&[("all", &[0])]);
    let (cases, _) = plan(&Builtin::new(), &machine);
    let setup = Setup {
        root: &root,
        meter: None,
        budget: Duration::from_millis(2),
    };
    let row = time(&Builtin::new(), &cases[0], &machine, setup).unwrap();
    assert_eq!(
        (row.provider, row.op, row.threads),
        (Provider::Builtin, Precision::Sgemm, Some(1))
    );
    assert_eq!(row.peak_gflops, Some(12.0));
    assert!((row.peak_share.unwrap() - row.gflops / 12.0).abs() < 1e-12);
    assert_eq!(row.conditions.celsius_after, Some(51.0));
    assert_eq!((row.cost.clone(), row.conditions.throttled), (None, None));
    // What is unknown is left out of a file, and comes back as unknown.
    let text = toml::to_string(&row).unwrap();
    assert!(
        !text.contains("watts") && text.contains("provider = \"builtin\"") && text.contains("op = \"sgemm\"")
    );
    assert_eq!(toml::from_str::<GemmRow>(&text).unwrap(), row);
}

/// Heats up a made-up board when it multiplies.
struct Heater<'a>(&'a Root);

const COUNT: &str = "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count";

impl Gemm for Heater<'_> {
    fn provider(&self) -> Provider {
        Provider::Builtin
    }
    fn name(&self) -> String {
        "heater".to_owned()
    }
    fn sgemm(&self, _: usize, _: &[f32], _: &[f32], _: &mut [f32], _: usize) -> Result<()> {
        let count: u64 = self.0.read_number(COUNT)?;
        self.0.write(COUNT, &format!("{}\n", count + 1))
    }
    fn dgemm(&self, _: usize, _: &[f64], _: &[f64], _: &mut [f64], _: usize) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_throttle_in_the_middle_marks_the_row_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    std::fs::create_dir_all(root.path(COUNT).parent().unwrap()).unwrap();
    std::fs::write(root.path(COUNT), "0\n").unwrap();
    let machine = machine(&[("all", &[0])]);
    let setup = Setup {
        root: &root,
        meter: None,
        budget: Duration::ZERO,
    };
    let row = |precision| {
        let case = Case {
            precision,
            size: Size { n: 16, fit: Fit::L1 },
            place: Place::AllThreads,
        };
        time(&Heater(&root), &case, &machine, setup).unwrap()
    };
    let hot = row(Precision::Sgemm);
    assert_eq!(hot.conditions.throttled, Some(true));
    assert!(hot.gflops > 0.0 && hot.runs >= 3, "{hot:?}");
    assert_eq!(row(Precision::Dgemm).conditions.throttled, Some(false));
}

fn span(joules: f64, seconds: f64, outside: f64) -> SpanEnergy {
    SpanEnergy {
        name: "gemm".to_owned(),
        begin: Moment::default(),
        end: Moment::default().after(Duration::from_secs_f64(seconds)),
        total: Some(Energy {
            joules: Joules(joules),
            uncertainty: Joules(joules / 50.0),
        }),
        rails: Vec::new(),
        budget: Budget::default(),
        coverage: 1.0,
        outside: Seconds(outside),
        samples: 9,
        kind: Kind::Measured,
    }
}

#[test]
fn costs_are_of_all_runs_and_carry_their_uncertainty() {
    let cost = Cost::of(&span(10.0, 2.0, 0.0), 40e9).unwrap();
    assert_eq!((cost.watts, cost.gflops_per_watt), (5.0, 4.0));
    assert_eq!(
        (cost.watts_uncertainty, cost.gflops_per_watt_uncertainty),
        (0.1, 0.08)
    );
    // Half of the span is not backed by samples: power is that of the other half, and the speed that of all.
    let cost = Cost::of(&span(5.0, 2.0, 1.0), 40e9).unwrap();
    assert_eq!((cost.watts, cost.gflops_per_watt), (5.0, 4.0));
    let unknown = SpanEnergy {
        total: None,
        ..span(1.0, 1.0, 0.0)
    };
    assert_eq!(Cost::of(&unknown, 1e9), None);
    assert_eq!(Cost::of(&span(0.0, 1.0, 0.0), 1e9), None);
}
