//! Over a thousand updates the native engine stays as close to f64 as libtorch does, to a factor of two.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)]

use hwmeter::learn::{Checkpoint, Engine, Learner, LearnerName, Settings, Transition};
use hwmeter_bench::twin::{AcTwin, DqnTwin, Normalisers, Twin, transitions};

const UPDATES: usize = 1000;

/// Distances of the native and of the torch engine to f64, the largest over all weights.
fn distances<T: Twin>(name: LearnerName, settings: &Settings, twin: impl Fn(&Checkpoint) -> T) -> (f64, f64) {
    let mut native = Engine::Native.build(name, 1, settings).unwrap();
    let mut torch = Engine::torch(false).unwrap().build(name, 1, settings).unwrap();
    let mut exact = twin(&native.save());
    let mut normalisers = Normalisers::default();
    for transition in transitions().take(UPDATES) {
        let learn = |learner: &mut dyn Learner, t: &Transition| learner.learn(t).unwrap();
        learn(&mut *native, &transition);
        learn(&mut *torch, &transition);
        let experience = normalisers.observe(&transition).unwrap();
        exact.learn(&experience, transition.placement as usize);
    }
    (exact.distance(&native.save()), exact.distance(&torch.save()))
}

/// Layers of 64, because the f64 twin is slow in a test; the networks as they are by default: `bench/peers/compare`.
#[test]
fn the_native_engine_is_as_exact_as_libtorch() {
    let mut settings = Settings::default();
    (settings.dqn.hidden, settings.ac.hidden) = (vec![64; 4], vec![64; 2]);
    (settings.dqn.gamma, settings.ac.gamma) = (0.99, 0.99);
    let dqn = distances(LearnerName::Dqn, &settings, |c| DqnTwin::new(&settings.dqn, c));
    let ac = distances(LearnerName::Ac, &settings, |c| AcTwin::new(&settings.ac, c));
    for (name, (native, torch)) in [("dqn", dqn), ("ac", ac)] {
        println!("{name}: native {native:.1e}, torch {torch:.1e} from f64");
        assert!(
            native <= 2.0 * torch,
            "{name}: native {native:e}, torch {torch:e}"
        );
        assert!(torch < 1e-2, "{name}: {torch:e}");
    }
}
