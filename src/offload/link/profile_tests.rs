#![allow(clippy::unwrap_used)]

use super::*;
use std::path::Path;

const CHANGING: &str = "
    repeat_s = 60
    [both]
    latency_s = 0.01
    [up]
    rate_bps = 10e6
    [[at]]
    t_s = 10
    up.rate_bps = 1e6
    both.loss = 0.01
    [[at]]
    t_s = 20
    change = 'linear'
    both.latency_s = 0.03
    up.rate_bps = 5e6
    [[outage]]
    t_s = 40
    for_s = 2
    [[outage]]
    t_s = 50
    for_s = 1
    reset = true
";

fn changing() -> Profile {
    Profile::parse("changing", CHANGING).unwrap()
}

#[test]
fn steps_lines_and_repetitions() {
    let profile = changing();
    for begin in [0.0, 60.0, 600.0] {
        let up = |t_s: f64| profile.at(begin + t_s, Way::Up);
        let close = |value: f64, expected: f64| assert!((value / expected - 1.0).abs() < 1e-9, "{value}");
        close(up(9.999).rate_bps, 10e6);
        close(up(9.999).latency_s, 0.01);
        assert_eq!(up(9.999).loss, 0.0);
        close(up(10.0).rate_bps, 1e6);
        // Half way of a straight line from 10 to 20 s.
        close(up(15.0).rate_bps, 3e6);
        close(up(15.0).latency_s, 0.02);
        close(up(59.0).latency_s, 0.03);
        assert_eq!(
            profile.at(begin + 15.0, Way::Down).rate_bps,
            1e12,
            "only up has a rate"
        );
        close(profile.round_trip_s(begin + 15.0), 0.04);
    }
}

#[test]
fn outages_end_and_come_again() {
    let profile = changing();
    assert_eq!(profile.after_outage(39.9), 39.9);
    assert_eq!(profile.after_outage(40.0), 42.0);
    assert_eq!(profile.after_outage(101.5), 102.0);
    assert_eq!(profile.next_reset(0.0), Some(50.0));
    assert_eq!(profile.next_reset(50.5), Some(50.5), "one that has begun is now");
    assert_eq!(profile.next_reset(51.0), Some(110.0));
    assert_eq!(Profile::parse("", "").unwrap().next_reset(5.0), None);
    let once = "[[outage]]\nt_s = 1\nfor_s = 1\nreset = true";
    assert_eq!(Profile::parse("", once).unwrap().next_reset(3.0), None);
    // One right upon another.
    let two = "repeat_s = 9\n[[outage]]\nt_s = 0\nfor_s = 1\n[[outage]]\nt_s = 1\nfor_s = 1\n[[outage]]\nt_s = 8\nfor_s = 1";
    let two = Profile::parse("", two).unwrap();
    assert_eq!(two.after_outage(0.5), 2.0);
    assert_eq!(two.after_outage(8.5), 11.0);
}

#[test]
fn what_is_given_beside_a_profile_wins_throughout() {
    let set = Change {
        rate_bps: Some(2e6),
        ..Change::default()
    };
    let profile = changing().overridden(&set, &Change::default()).unwrap();
    for t_s in [0.0, 12.0, 17.0, 30.0] {
        assert_eq!(profile.at(t_s, Way::Up).rate_bps, 2e6);
        assert_eq!(profile.at(t_s, Way::Down), changing().at(t_s, Way::Down));
    }
}

#[test]
fn only_a_link_that_never_changes_is_constant() {
    assert_eq!(changing().if_constant(Way::Up), None);
    let constant = Profile::parse("", "up.loss = 0.1").unwrap();
    assert_eq!(constant.if_constant(Way::Up).unwrap().loss, 0.1);
    let outage = Outage {
        t_s: 1.0,
        for_s: 1.0,
        reset: false,
    };
    assert_eq!(
        constant.with_outages(&[outage]).unwrap().if_constant(Way::Up),
        None
    );
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("latency = 1", "unknown field `latency`"),
        ("[both]\nlatency_ms = 1", "unknown field `latency_ms`"),
        ("[[at]]\nup.rate = 1", "unknown field `rate`"),
        ("[[at]]\nt_s = 0", "must come after"),
        ("[[at]]\nt_s = 5\n[[at]]\nt_s = 5", "must come after"),
        ("[[at]]\nt_s = nan", "must come after"),
        ("[both]\nrate_bps = 1e20", "up at 0 s: rate_bps is 1"),
        ("[[at]]\nt_s = 3\ndown.loss = -1", "down at 3 s: loss is -1"),
        ("[[outage]]\nt_s = 1\nfor_s = 0", "cannot be"),
        (
            "[[outage]]\nt_s = 1\nfor_s = 2\n[[outage]]\nt_s = 2\nfor_s = 2",
            "overlap",
        ),
        ("repeat_s = 2\n[[at]]\nt_s = 3", "must not come earlier"),
        ("repeat_s = 0", "repeat_s is 0"),
        (
            "repeat_s = 2\n[[outage]]\nt_s = 0\nfor_s = 2",
            "nothing ever passes",
        ),
        ("[both]\njitter_shape = 'uniform'", "uniform"),
        ("[[", "profile bad"),
    ];
    for (text, expected) in cases {
        let error = Profile::parse("bad", text).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("profile bad"),
            "{text}: {error}"
        );
    }
    let error = Profile::read(Path::new("/nowhere/profile.toml")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/profile.toml"), "{error}");
}

#[test]
fn the_next_change_is_told_over_ramps_outages_and_repetitions() {
    let text = "repeat_s = 60\n[[at]]\nt_s = 10\nup.rate_bps = 1e6\n[[at]]\nt_s = 20\nchange = \"linear\"\nup.rate_bps = 2e6\n\
        [[outage]]\nt_s = 40\nfor_s = 2\n";
    let profile = Profile::parse("test", text).unwrap();
    for (t_s, next) in [
        (0.0, 10.0),
        (10.0, 10.1),
        (20.0, 40.0),
        (41.0, 42.0),
        (50.0, 60.0),
        (60.0, 70.0),
    ] {
        let found = profile.next_change(t_s).unwrap();
        assert!((found - next).abs() < 1e-9, "{t_s}: {found}");
    }
    assert_eq!(Profile::parse("test", "").unwrap().next_change(1.0), None);
}
