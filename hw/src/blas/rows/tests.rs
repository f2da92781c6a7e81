//! Rows on made-up boards, with the real engine that is always there.

use super::*;
use crate::blas::builtin::Builtin;
use crate::blas::plan::plan;
use crate::blas::plan::tests::{Fake, machine};
use crate::blas::sizes::{Fit, Size};
use crate::clock::Moment;
use crate::fake_tree::tree;
use crate::uncertainty::{Budget, Energy};
use crate::units::{Joules, Seconds};

#[test]
fn a_row_of_a_gpu_has_no_threads_and_no_peak_of_a_cpu() {
    let machine = machine(&[("all", &[0, 1])]);
    let gpu = Fake(Provider::Cublas, 1);
    let (cases, _) = plan(&gpu, &machine);
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
    let (_dir, root) = tree(&[
        (
            "/proc/cpuinfo",
            "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd08\n",
        ),
        (
            "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
            "1500000\n",
        ),
        ("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("/sys/class/thermal/thermal_zone0/temp", "51000\n"),
    ]);
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
    let (_dir, root) = tree(&[(COUNT, "0\n")]);
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

#[test]
fn repeats_keep_the_middle_one_and_tell_how_far_they_are_apart() {
    let row = |gflops: f64| {
        let case = Case {
            precision: Precision::Sgemm,
            size: Size { n: 16, fit: Fit::L1 },
            place: Place::OneThread,
        };
        let root = Root::new("/nonexistent");
        let setup = Setup {
            root: &root,
            meter: None,
            budget: Duration::ZERO,
        };
        let row = time(
            &Fake(Provider::Builtin, 1),
            &case,
            &machine(&[("all", &[0])]),
            setup,
        )
        .unwrap();
        GemmRow { gflops, ..row }
    };
    let kept = middle([12.0, 10.0, 10.5].map(row).into()).unwrap();
    assert_eq!(kept.gflops, 10.5);
    assert!((kept.repeat_spread.unwrap() - 2.0 / 10.5).abs() < 1e-12);
    assert_eq!(middle(vec![row(3.0)]).unwrap().repeat_spread, None);
    assert!(middle(Vec::new()).is_none());
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
