//! Writes what `bench/peers/peer_agreement.py` needs to hold our updates against PyTorch's.
//!
//! ```sh
//! cargo run --release -p hwmeter-bench --bin agreement FILE
//! ```
//!
//! The file is a safetensors file: the experiences (`state`, `placement`, `reward`, `after`), and for `dqn` and
//! `ac` the weights after 0, 100 and 1,000 updates, as `LEARNER.WHO.UPDATES.NETWORK.LAYER` with the bias as last
//! column; WHO is `ours` (the native engine) or `exact` (f64).

use hwmeter::learn::reference::Reference;
use hwmeter::learn::{Checkpoint, LearnError, Learner, LearnerName, Settings, Transition, ac, dqn};
use hwmeter_bench::twin::{AcTwin, DqnTwin, Experience, Normalisers, Twin, transitions};
use std::path::Path;
use std::process::ExitCode;

const UPDATES: usize = 1000;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: agreement FILE");
        return ExitCode::from(2);
    };
    match write(Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agreement: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(path: &Path) -> Result<(), LearnError> {
    let mut file = Checkpoint::new(LearnerName::Dqn, String::new(), 1, 0, Settings::default());
    let transitions: Vec<Transition> = transitions().take(UPDATES).collect();
    let mut normalisers = Normalisers::default();
    let experiences = transitions.iter().map(|t| normalisers.observe(t));
    let experiences = experiences.collect::<Result<Vec<Experience>, _>>()?;
    put_experiences(&mut file, &transitions, &experiences);

    let config = dqn::Config {
        gamma: 0.99,
        ..dqn::Config::default()
    };
    let mut dqn = dqn::Dqn::new(config.clone(), 1)?;
    let twin = |checkpoint: &Checkpoint| DqnTwin::new(&config, checkpoint);
    follow(&mut file, "dqn", &mut dqn, twin, &transitions, &experiences)?;
    let config = ac::Config {
        gamma: 0.99,
        ..ac::Config::default()
    };
    let mut ac = ac::ActorCritic::new(config.clone(), 1)?;
    let twin = |checkpoint: &Checkpoint| AcTwin::new(&config, checkpoint);
    follow(&mut file, "ac", &mut ac, twin, &transitions, &experiences)?;
    file.write(path)
}

fn put_experiences(file: &mut Checkpoint, transitions: &[Transition], experiences: &[Experience]) {
    let count = transitions.len();
    let placements = transitions.iter().map(|t| f64::from(t.placement as u8));
    file.put_f64("placement", &[count], placements.collect());
    file.put_f64("reward", &[count], experiences.iter().map(|e| e.1).collect());
    file.put_f64(
        "state",
        &[count, 5],
        experiences.iter().flat_map(|e| e.0).collect(),
    );
    file.put_f64(
        "after",
        &[count, 5],
        experiences.iter().flat_map(|e| e.2).collect(),
    );
}

/// Updates the learner and its twin side by side, and puts down their weights on the way.
fn follow<T: Twin>(
    file: &mut Checkpoint,
    label: &str,
    learner: &mut dyn Learner,
    twin: impl Fn(&Checkpoint) -> T,
    transitions: &[Transition],
    experiences: &[Experience],
) -> Result<(), LearnError> {
    let mut exact = twin(&learner.save());
    put_weights(file, &format!("{label}.ours.0"), &exact);
    for (i, (transition, experience)) in transitions.iter().zip(experiences).enumerate() {
        learner.learn(transition)?;
        exact.learn(experience, transition.placement as usize);
        let updates = i + 1;
        if [100, UPDATES].contains(&updates) {
            put_weights(file, &format!("{label}.ours.{updates}"), &twin(&learner.save()));
            put_weights(file, &format!("{label}.exact.{updates}"), &exact);
        }
    }
    Ok(())
}

fn put_weights<T: Twin>(file: &mut Checkpoint, label: &str, twin: &T) {
    for (network, prefix) in twin.networks().into_iter().zip(T::NETWORKS) {
        put_network(file, &format!("{label}.{prefix}"), network);
    }
}

fn put_network(file: &mut Checkpoint, label: &str, network: &Reference) {
    for (i, layer) in network.layers.iter().enumerate() {
        let shape = [layer.w.len(), layer.w[0].len()];
        file.put_f64(&format!("{label}.{i}"), &shape, layer.w.concat());
    }
}
