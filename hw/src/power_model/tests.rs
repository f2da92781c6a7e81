#![allow(clippy::unwrap_used)]

use super::form::nonnegative_least_squares;
use super::*;
use crate::synthetic::Random;

const MAX_HZ: f64 = 1.8e9;
const NOISE: f64 = 0.01;

/// A board whose power is known: the first busy core wakes the cluster, and dynamic power grows with the clock.
fn truth(u: f64, hz: f64) -> f64 {
    let x = hz / MAX_HZ;
    2.6 + 1.1 * u.powf(0.6) + u * (1.2 * x + 1.8 * x.powi(3))
}

fn step(u: f64, hz: f64, random: &mut Random) -> LoadStep {
    let noise = (0..12).map(|_| random.uniform(-0.5, 0.5)).sum::<f64>() * NOISE;
    LoadStep {
        busy_cores: 4,
        share: u,
        utilisation: u,
        hz: Some(hz),
        watts: Watts(truth(u, hz) + noise),
        uncertainty: Watts(NOISE),
    }
}

fn seen(steps: Vec<LoadStep>) -> LoadSteps {
    LoadSteps {
        sensor: "modbus:tcp://192.0.2.1".into(),
        kind: Kind::Measured,
        gain: 0.005,
        steps,
        highest_hz: Some(MAX_HZ),
        notes: Vec::new(),
        partial: None,
    }
}

/// What `Plan` takes by default on four cores: twelve loads as the governor has it, and four each at two frequencies.
fn default_steps(random: &mut Random) -> LoadSteps {
    let loads = [
        0.02, 0.1, 0.13, 0.25, 0.26, 0.3, 0.5, 0.51, 0.74, 0.75, 0.99, 1.0, 0.02,
    ];
    let mut steps: Vec<LoadStep> = loads.iter().map(|&u| step(u, MAX_HZ, random)).collect();
    for hz in [0.6e9, 1.2e9] {
        steps.extend([0.02, 0.26, 0.51, 1.0].map(|u| step(u, hz, random)));
    }
    seen(steps)
}

/// Relative root mean square error over held-out loads and frequencies, of the model and of the guess for any board.
fn held_out(model: &PowerModel) -> (f64, f64) {
    let (mut of_model, mut of_guess, mut n) = (0.0, 0.0, 0.0);
    let (idle, full) = crate::sensors::cpu_model::guess(crate::board::BoardKind::RaspberryPi4, 4);
    for hz in [0.6e9, 0.8e9, 1.0e9, 1.5e9, MAX_HZ] {
        for u in [0.05, 0.2, 0.4, 0.6, 0.9] {
            let truth = truth(u, hz);
            let guess = idle.0 + u * (full.0 - idle.0);
            of_model += (model.power(u, Some(hz)).0 / truth - 1.0).powi(2);
            of_guess += (guess / truth - 1.0).powi(2);
            n += 1.0;
        }
    }
    ((of_model / n).sqrt(), (of_guess / n).sqrt())
}

#[test]
fn held_out_steps_are_within_the_stated_error_and_thrice_closer_than_a_guess() {
    let (mut error, mut stated) = (0.0, 0.0);
    for seed in 0..20 {
        let model = PowerModel::fit(&default_steps(&mut Random::new(seed))).unwrap();
        let (of_model, of_guess) = held_out(&model);
        assert!(3.0 * of_model < of_guess, "seed {seed}: {of_model} {of_guess}");
        assert!(
            of_model < 2.0 * model.gain(),
            "seed {seed}: {of_model}, stated {}",
            model.gain()
        );
        error += of_model.powi(2);
        stated += model.gain().powi(2);
    }
    assert!(error < stated, "{error} {stated}");
    assert!(
        stated < 9.0 * error,
        "nor is it far too careful: {error} {stated}"
    );
}

#[test]
fn power_never_falls_with_load_or_frequency() {
    let mut random = Random::new(7);
    let mut steps = default_steps(&mut random);
    // Noise so large that neighbouring steps contradict each other.
    for step in &mut steps.steps {
        step.watts.0 += random.uniform(-0.5, 0.5);
    }
    let model = PowerModel::fit(&steps).unwrap();
    for i in 0..100 {
        let (u, hz) = (f64::from(i) / 100.0, f64::from(i + 1) * 2e7);
        assert!(model.power(u + 0.01, Some(1e9)) >= model.power(u, Some(1e9)));
        assert!(model.power(0.5, Some(hz + 2e7)) >= model.power(0.5, Some(hz)));
    }
    assert!(
        model.fit_error > 0.03,
        "and says that it does not fit: {}",
        model.fit_error
    );
}

#[test]
fn one_frequency_is_a_model_of_load_alone() {
    let mut random = Random::new(1);
    let mut steps = default_steps(&mut random);
    steps.steps.truncate(12);
    let with = PowerModel::fit(&steps).unwrap();
    assert!(!with.needs_frequency() && with.linear_watts.is_empty());
    for step in &mut steps.steps {
        step.hz = None;
    }
    assert_eq!(PowerModel::fit(&steps).unwrap(), with);
    assert!((with.power(0.4, None).0 - truth(0.4, MAX_HZ)).abs() < 0.1);
    assert_eq!(with.full(), with.power(1.0, Some(1e9)));
}

#[test]
fn weights_are_the_least_squares_or_zero() {
    let h = [vec![2.0, 1.0], vec![1.0, 2.0]];
    for (b, expected) in [
        ([4.0, 5.0], [1.0, 2.0]),
        ([-1.0, 3.0], [0.0, 1.5]),
        ([-1.0, -1.0], [0.0, 0.0]),
    ] {
        let x = nonnegative_least_squares(&h, &b);
        assert!(
            x.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-6),
            "{b:?}: {x:?}"
        );
    }
}

#[test]
fn a_sure_step_counts_for_more_than_an_unsure_one() {
    let mut steps = default_steps(&mut Random::new(3));
    let before = PowerModel::fit(&steps).unwrap();
    let mut wrong = steps.steps[6];
    wrong.watts.0 += 3.0;
    wrong.uncertainty = Watts(5.0);
    steps.steps.push(wrong);
    let after = PowerModel::fit(&steps).unwrap();
    assert!((after.power(0.5, None) - before.power(0.5, None)).0.abs() < 0.01);
}

#[test]
fn steps_that_tell_nothing_are_refused() {
    let good = default_steps(&mut Random::new(2));
    let error = |change: fn(&mut LoadSteps)| {
        let mut steps = good.clone();
        change(&mut steps);
        PowerModel::fit(&steps).unwrap_err().to_string()
    };
    let few = error(|steps| {
        steps.steps.truncate(3);
        steps.partial = Some("ended at step 4 of 21: the meter is gone".into());
    });
    assert!(
        few.contains("3 steps are too few") && few.contains("the meter is gone"),
        "{few}"
    );
    let flat = error(|steps| steps.steps.iter_mut().for_each(|step| step.watts = Watts(5.0)));
    assert!(
        flat.contains("does not rise") && flat.contains("modbus:tcp"),
        "{flat}"
    );
    let busy = error(|steps| steps.steps.iter_mut().for_each(|step| step.utilisation = 0.99));
    assert!(busy.contains("busy"), "{busy}");
    let model = error(|steps| steps.kind = Kind::Modelled);
    assert!(model.contains("--reference"), "{model}");
}

#[test]
fn a_file_gives_back_what_was_written_and_a_broken_one_is_refused() {
    let model = PowerModel::fit(&default_steps(&mut Random::new(5))).unwrap();
    let value = toml::Value::try_from(&model).unwrap();
    assert_eq!(value.clone().try_into::<PowerModel>().unwrap(), model);
    for (key, wrong) in [
        ("knots", toml::Value::from(vec![0.0, 0.5, 0.4, 1.0])),
        ("knots", toml::Value::from(vec![0.0])),
        ("constant_watts", toml::Value::from(vec![1.0, -1.0, 1.0])),
        ("linear_watts", toml::Value::from(vec![1.0])),
        ("max_hz", toml::Value::from(0.0)),
        ("fit_error", toml::Value::from(f64::NAN)),
        ("idel_watts", toml::Value::from(1.0)),
    ] {
        let mut broken = value.clone();
        broken.as_table_mut().unwrap().insert(key.into(), wrong);
        assert!(broken.try_into::<PowerModel>().is_err(), "{key}");
    }
}

#[test]
fn a_governor_that_cannot_be_held_gives_a_model_of_what_it_does() {
    let governed = |u: f64| MAX_HZ * (0.4 + 0.6 * (1.5 * u).min(1.0));
    let (mut error, mut stated) = (0.0, 0.0);
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let loads = [
            0.02, 0.1, 0.13, 0.25, 0.26, 0.3, 0.5, 0.51, 0.74, 0.75, 0.99, 1.0, 0.02,
        ];
        let steps = loads.map(|u| step(u, governed(u), &mut random));
        let model = PowerModel::fit(&seen(steps.into())).unwrap();
        assert!(model.needs_frequency());
        for u in [0.05, 0.2, 0.4, 0.6, 0.9] {
            error += (model.power(u, Some(governed(u))).0 / truth(u, governed(u)) - 1.0).powi(2) / 5.0;
        }
        stated += model.gain().powi(2);
    }
    assert!(error < stated, "{error} {stated}");
}
