#![allow(clippy::unwrap_used)]

use super::*;
use crate::offload::link::conditions::JitterShape;

fn words(conditions: Conditions, effects: Effects) -> String {
    wish(&conditions, &effects).unwrap().join(" ")
}

#[test]
fn wishes_are_what_tc_understands() {
    let conditions = Conditions {
        latency_s: 0.020,
        jitter_s: 0.002,
        jitter_shape: JitterShape::Pareto,
        rate_bps: 50e6,
        loss: 0.01,
        loss_burst: 4.0,
    };
    let effects = Effects {
        corrupt: 0.001,
        duplicate: 0.02,
        reorder: 0.1,
    };
    assert_eq!(
        words(conditions, effects),
        "limit 1000 delay 20000.000us 2000.000us distribution pareto loss gemodel 0.252525% 25.000000% \
         corrupt 0.100000% duplicate 2.000000% reorder 10.000000% rate 50000000bit"
    );
    let lossy = Conditions {
        loss: 0.05,
        ..Conditions::IDEAL
    };
    assert_eq!(
        words(lossy, Effects::default()),
        "limit 83333 loss random 5.000000%"
    );
}

#[test]
fn wishes_that_make_no_sense_are_refused() {
    let reorder = Effects {
        reorder: 0.1,
        ..Effects::default()
    };
    let error = wish(&Conditions::IDEAL, &reorder).unwrap_err().to_string();
    assert!(error.contains("--latency"), "{error}");
    let error = wish(&Conditions::IDEAL, &Effects::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("nothing to do"), "{error}");
}

const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
const V6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 usb0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo
";

#[test]
fn interfaces_with_a_default_route_are_lifelines() {
    let found: Vec<&str> = default_interfaces(V4, V6).collect();
    assert_eq!(found, ["wlan0", "usb0", "lo"]);
    assert_eq!(default_interfaces("", "nonsense\n\n").count(), 0);
}
