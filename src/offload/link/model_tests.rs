//! Exact tests on a virtual time axis.
#![allow(clippy::unwrap_used)]

use super::*;

/// The way up of connection 0.
fn up(profile: &Profile, seed: u64) -> Direction {
    Direction::new(Arc::new(profile.clone()), Way::Up, Arc::default(), seed, 0)
}

fn constant(conditions: Conditions) -> Profile {
    Profile::constant(conditions).unwrap()
}

fn near(value: f64, expected: f64, share: f64, what: &str) {
    assert!(
        (value / expected - 1.0).abs() < share,
        "{what}: {value}, expected {expected}"
    );
}

const PLAIN: Conditions = Conditions {
    latency_s: 0.020,
    rate_bps: 8e6,
    ..Conditions::IDEAL
};
const FIRST: f64 = 100.0;

#[test]
fn the_bottleneck_is_shared_and_the_cable_is_not() {
    let profile = Arc::new(constant(PLAIN));
    let shared = Arc::new(Bottleneck::default());
    let mut connections =
        [0, 1].map(|n| Direction::new(Arc::clone(&profile), Way::Up, Arc::clone(&shared), 5, n));
    // 1000 bytes take 1 ms at 8 Mbit/s. The second piece waits for the first, but not for its delay.
    near(connections[0].due_s(FIRST, 1000) - FIRST, 0.021, 1e-9, "first");
    near(connections[1].due_s(FIRST, 1000) - FIRST, 0.022, 1e-9, "second");
    // An idle link saves nothing up.
    near(connections[0].due_s(101.0, 1000) - 101.0, 0.021, 1e-9, "later");
    near(shared.busy_until_s(), 101.001, 1e-9, "busy");
}

/// Asked: 20 ms ± 2 ms and 50 Mbit/s. Got: within 5 %.
#[test]
fn delay_jitter_and_rate_are_as_asked() {
    let asked = Conditions {
        jitter_s: 0.002,
        rate_bps: 50e6,
        ..PLAIN
    };
    let mut direction = up(&constant(asked), 3);
    let delays: Vec<f64> = (0..20_000)
        .map(f64::from)
        .map(|now_s| direction.due_s(now_s, 1) - now_s)
        .collect();
    let n = delays.len() as f64;
    let mean = delays.iter().sum::<f64>() / n;
    let sigma = (delays.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n).sqrt();
    near(mean, 0.020, 0.01, "mean");
    near(sigma, 0.002, 0.02, "sigma");

    // A long transfer, taken in as fast as the bottleneck passes it.
    let begin_s = 1e5;
    let last_s = (0..10_000)
        .map(|i| direction.due_s(begin_s + f64::from(i) * 1e-3, 6250))
        .last()
        .unwrap();
    near(8.0 * 6250.0 * 10_000.0 / (last_s - begin_s), 50e6, 0.01, "rate");
}

#[test]
fn bytes_never_overtake_each_other() {
    let mut direction = up(
        &constant(Conditions {
            jitter_s: 0.009,
            rate_bps: 1e9,
            loss: 0.05,
            loss_burst: 4.0,
            ..PLAIN
        }),
        3,
    );
    let mut last_s = 0.0;
    for i in 0..20_000 {
        let now_s = f64::from(i) * 1e-4;
        let due_s = direction.due_s(now_s, 4000);
        assert!(due_s >= last_s && due_s >= now_s);
        last_s = due_s;
    }
}

#[test]
fn the_same_seed_gives_the_same_sequence_and_another_does_not() {
    let profile = Arc::new(constant(Conditions {
        jitter_s: 0.002,
        loss: 0.02,
        ..PLAIN
    }));
    let sequence = |seed, connection, way| -> Vec<f64> {
        let mut direction = Direction::new(Arc::clone(&profile), way, Arc::default(), seed, connection);
        (0..500).map(|i| direction.due_s(f64::from(i), 2000)).collect()
    };
    assert_eq!(sequence(1, 0, Way::Up), sequence(1, 0, Way::Up));
    assert_ne!(sequence(1, 0, Way::Up), sequence(2, 0, Way::Up));
    assert_ne!(sequence(1, 0, Way::Up), sequence(1, 1, Way::Up));
    assert_ne!(sequence(1, 0, Way::Up), sequence(1, 0, Way::Down));
}

#[test]
fn losses_are_as_many_and_as_clustered_as_asked() {
    for (loss, burst) in [(0.01, 1.0), (0.01, 5.0), (0.2, 10.0), (0.3, 1.0), (0.5, 4.0)] {
        let mut direction = up(&constant(PLAIN), 11);
        let conditions = Conditions {
            loss,
            loss_burst: burst,
            ..PLAIN
        };
        let lost: Vec<bool> = (0..1_000_000).map(|_| direction.loses(&conditions)).collect();
        let count = lost.iter().filter(|&&lost| lost).count() as f64;
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
        near(count / lost.len() as f64, loss, 0.05, "share of losses");
        near(count / bursts, burst.max(1.0 / (1.0 - loss)), 0.05, "mean burst");
    }
}

/// Delays beyond those of a link without loss, of pieces so far apart that each is alone.
fn extra(conditions: Conditions, bytes: usize, pieces: u32) -> Vec<f64> {
    let mut direction = up(&constant(conditions), 4);
    let pass_s = 8.0 * bytes as f64 / conditions.rate_bps;
    (0..pieces)
        .map(|i| f64::from(i) * 1000.0)
        .map(|now_s| direction.due_s(now_s, bytes) - now_s - pass_s - conditions.latency_s)
        .collect()
}

#[test]
fn a_lone_packet_waits_for_the_timeout_and_one_of_many_for_a_round_trip() {
    let lossy = Conditions { loss: 0.1, ..PLAIN };
    let alone = extra(lossy, 100, 20_000);
    // Round trip 40 ms, so the timeout is 240 ms, then 480 ms more, then 960 ms.
    for delay_s in &alone {
        let steps = [0.0, 0.240, 0.720, 1.680, 3.600, 7.440];
        assert!(
            steps.iter().any(|step| (step - delay_s).abs() < 1e-6),
            "{delay_s}"
        );
    }
    let share =
        |delays: &[f64], from: f64| delays.iter().filter(|&&d| d > from).count() as f64 / delays.len() as f64;
    near(share(&alone, 0.1), 0.1, 0.1, "lost once");
    near(share(&alone, 0.5), 0.01, 0.3, "lost twice");

    // Ten packets at once: the first retransmission takes 40 ms, a second one 240 ms more.
    let many = extra(lossy, 10 * SEGMENT_BYTES, 5000);
    for delay_s in &many {
        let steps = [0.0, 0.040, 0.280, 0.760, 1.720, 3.640, 7.480];
        assert!(
            steps.iter().any(|step| (step - delay_s).abs() < 1e-6),
            "{delay_s}"
        );
    }
    near(
        share(&many, 0.01),
        1.0 - 0.9_f64.powi(10),
        0.05,
        "one of ten lost",
    );
}

#[test]
fn a_long_transfer_shows_its_losses_fast() {
    let mut direction = up(&constant(Conditions { loss: 0.01, ..PLAIN }), 4);
    // One packet each 1.448 ms is what 8 Mbit/s carry: some thirty are under way.
    let late: Vec<f64> = (0..20_000)
        .map(|i| f64::from(i) * 1.448e-3)
        .map(|now_s| direction.due_s(now_s, SEGMENT_BYTES) - now_s - 1.448e-3 - 0.020)
        .collect();
    let timeouts = late[100..].iter().filter(|&&s| s > 0.1).count() as f64 / late.len() as f64;
    // Only what is lost again, 1 in 10,000, waits for the timeout (and holds up what is behind it for 166 packets).
    assert!(timeouts < 0.05, "{timeouts}");
    assert!(late.iter().any(|&s| (s - 0.040).abs() < 1e-6));
}

#[test]
fn nothing_passes_in_an_outage_and_what_waits_comes_afterwards() {
    let profile = Profile::parse(
        "",
        "[both]\nlatency_s = 0.02\nrate_bps = 8e6\n[[outage]]\nt_s = 10\nfor_s = 2",
    )
    .unwrap();
    let mut direction = up(&profile, 1);
    near(direction.due_s(9.9, 1000), 9.921, 1e-9, "before");
    near(direction.due_s(9.99, 1000), 12.0, 1e-9, "on the cable");
    near(direction.due_s(11.0, 1000), 12.021, 1e-9, "in it");
    near(direction.due_s(11.5, 1000), 12.022, 1e-9, "in the queue");
    near(direction.due_s(13.0, 1000), 13.021, 1e-9, "after it");
}

#[test]
fn each_direction_has_its_own_conditions() {
    let profile = Arc::new(Profile::parse("", "[up]\nlatency_s = 0.03\n[down]\nlatency_s = 0.01").unwrap());
    for (way, latency_s) in [(Way::Up, 0.03), (Way::Down, 0.01)] {
        let mut direction = Direction::new(Arc::clone(&profile), way, Arc::default(), 1, 0);
        near(direction.due_s(1.0, 1) - 1.0, latency_s, 1e-6, "latency");
    }
}

#[test]
fn a_rate_that_changes_while_a_piece_passes_counts_as_it_changes() {
    let profile = Profile::parse("", "up.rate_bps = 1e5\n[[at]]\nt_s = 0.5\nup.rate_bps = 1e9").unwrap();
    // 16 kB would take 1.28 s at 100 kbit/s; half of them at most pass in the first half second.
    let due_s = up(&profile, 1).due_s(0.0, 16_000);
    assert!(due_s > 0.5 && due_s < 0.65, "{due_s}");
}
