//! RAPL counters that wrap, and that start again.

use crate::common::{Tree, boards};
use hwmeter_hw::clock::{Clock, ManualClock};
use hwmeter_hw::discover;
use hwmeter_hw::meter::{Meter, MeterOptions};
use std::sync::Arc;
use std::time::Duration;

const PACKAGE: &str = "/sys/class/powercap/intel-rapl:0";

/// Joules and coverage of three seconds in which package 0 shows these counts, and the resets seen.
fn measure(tree: &Tree, microjoules: [u64; 4]) -> (f64, f64, u64) {
    let show = |n: u64| tree.write(&format!("{PACKAGE}/energy_uj"), format!("{n}\n"));
    show(microjoules[0]);
    let clock = Arc::new(ManualClock::new());
    let options = MeterOptions {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..MeterOptions::at(1.0)
    };
    let sensor = discover::open(&tree.context(), "powercap").unwrap();
    let meter = Meter::start_manual(sensor, options).unwrap();
    let span = meter.span("three seconds");
    for count in &microjoules[1..] {
        clock.advance(Duration::from_secs(1));
        show(*count);
        meter.sample_now();
    }
    let pending = span.end();
    clock.advance(Duration::from_secs(1));
    meter.sample_now();
    let energy = pending.wait();
    let package = energy.rails[0].unwrap().joules.0;
    (package, energy.coverage, meter.stop().resets)
}

#[test]
fn a_counter_that_wraps_goes_on_and_one_that_starts_again_is_no_wrap() {
    let tree = boards::x86_rapl();
    tree.write(&format!("{PACKAGE}/max_energy_range_uj"), "262143328850\n");
    // 1 J before the wrap and 2 J after it, then 3 J more.
    let (joules, coverage, resets) = measure(&tree, [262_142_328_850, 2_000_000, 5_000_000, 5_000_000]);
    assert!(
        (joules - 6.0).abs() < 1e-6 && resets == 0,
        "{joules} J, {resets} resets"
    );
    assert!(coverage > 0.99, "{coverage}");
    // From the middle to nearly nothing: a driver loaded anew. That second is lost, not 162 kJ.
    let (joules, coverage, resets) = measure(&tree, [100_000_000_000, 100_002_000_000, 1_000_000, 3_000_000]);
    assert_eq!(resets, 1);
    assert!(
        coverage < 0.99 && joules < 20.0,
        "{joules} J, coverage {coverage}"
    );
}
