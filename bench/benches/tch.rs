//! The updates of `dqn` and `ac` in libtorch, call by call on one thread: written plainly with the optimiser of
//! `tch`, as its users have them, and by our torch engine.
//!
//! Prints rows for `bench/peers/compare`; gamma 0.99. The plain ones get their numbers normalised already. Fails when
//! units are dead, because the cost would say nothing about a network that learns. With `--test`: a few calls only.

use hwmeter::learn::{Engine, LearnerName, Settings};
use hwmeter_bench::timing::{Quantiles, micros};
use hwmeter_bench::twin::{Experience, Normalisers, transitions};
use std::hint::black_box;
use tch::nn::{self, Module, OptimizerConfig};
use tch::{Device, Kind, Reduction, Tensor, no_grad};

const GAMMA: f64 = 0.99;

fn main() {
    // The engine sets libtorch to one thread, for all of this process.
    let engine = Engine::torch(false).expect("libtorch on the CPU");
    let mut dqn = PlainDqn::new(4, 256);
    time_plain("dqn 4x256", |experience, action| dqn.update(experience, action));
    must_be_alive(&dqn.q);
    time_engine("dqn 4x256", engine, LearnerName::Dqn, 256);
    for width in [64, 256] {
        let (name, mut ac) = (format!("ac 2x{width}"), PlainActorCritic::new(2, width));
        time_plain(&name, |experience, action| ac.update(experience, action));
        time_engine(&name, engine, LearnerName::Ac, width as usize);
    }
}

/// Layers of one width with their optimiser.
struct Plain {
    net: nn::Sequential,
    adam: nn::Optimizer,
    _weights: nn::VarStore,
}

impl Plain {
    fn new(depth: usize, width: i64, outputs: i64, hidden: fn(&Tensor) -> Tensor, rate: f64) -> Self {
        let weights = nn::VarStore::new(Device::Cpu);
        let root = weights.root();
        let mut net = nn::seq();
        let mut inputs = 5;
        for i in 0..depth {
            let layer = nn::linear(&root / format!("hidden{i}"), inputs, width, Default::default());
            net = net.add(layer).add_fn(hidden);
            inputs = width;
        }
        let net = net.add(nn::linear(&root / "last", inputs, outputs, Default::default()));
        let adam = nn::Adam::default().build(&weights, rate).expect("an optimiser");
        Self {
            net,
            adam,
            _weights: weights,
        }
    }
}

/// One step of Adam on the Huber loss of r + gamma max Q(s', .) - Q(s, a).
struct PlainDqn {
    q: Plain,
}

impl PlainDqn {
    fn new(depth: usize, width: i64) -> Self {
        Self {
            q: Plain::new(depth, width, 3, Tensor::relu, 1e-4),
        }
    }

    fn update(&mut self, (before, reward, after): &Experience, action: i64) {
        let Plain { net, adam, .. } = &mut self.q;
        let target = no_grad(|| net.forward(&features(after)).max() * GAMMA + *reward);
        let value = net.forward(&features(before)).get(action);
        adam.backward_step(&value.huber_loss(&target, Reduction::Mean, 1.0));
    }
}

/// Down (r + gamma V(s') - V(s))^2 / 2 and -log pi(a|s) delta - 0.01 H(pi).
struct PlainActorCritic {
    actor: Plain,
    critic: Plain,
}

impl PlainActorCritic {
    fn new(depth: usize, width: i64) -> Self {
        Self {
            actor: Plain::new(depth, width, 3, Tensor::tanh, 2e-3),
            critic: Plain::new(depth, width, 1, Tensor::tanh, 1e-3),
        }
    }

    fn update(&mut self, (before, reward, after): &Experience, action: i64) {
        let state = features(before);
        let target = no_grad(|| self.critic.net.forward(&features(after)) * GAMMA + *reward);
        let delta = target - self.critic.net.forward(&state);
        self.critic
            .adam
            .backward_step(&(delta.square().sum(Kind::Float) / 2.0));
        let log_policy = self.actor.net.forward(&state).log_softmax(-1, Kind::Float);
        let entropy = -(log_policy.exp() * &log_policy).sum(Kind::Float);
        let gain = log_policy.get(action) * delta.detach().sum(Kind::Float);
        self.actor.adam.backward_step(&(-gain - entropy * 0.01));
    }
}

fn features(state: &[f64; 5]) -> Tensor {
    Tensor::from_slice(&state.map(|x| x as f32))
}

fn time_plain(name: &str, mut update: impl FnMut(&Experience, i64)) {
    let mut normalisers = Normalisers::default();
    let stream: Vec<(Experience, i64)> = transitions()
        .take(500)
        .map(|t| (normalisers.observe(&t).expect("finite"), t.placement as i64))
        .collect();
    let mut cycle = stream.iter().cycle();
    time(name, "tch, default Adam", || {
        let (experience, action) = cycle.next().expect("a cycle never ends");
        update(black_box(experience), *action);
    });
}

fn time_engine(name: &str, engine: Engine, learner: LearnerName, width: usize) {
    let mut settings = Settings::default();
    settings.ac.hidden = vec![width; 2];
    (settings.dqn.gamma, settings.ac.gamma) = (GAMMA, GAMMA);
    let mut learner = engine.build(learner, 1, &settings).expect("valid settings");
    let mut cycle = transitions();
    time(name, "hwmeter torch (cpu)", || {
        let transition = cycle.next().expect("a cycle never ends");
        learner.learn(black_box(&transition)).expect("finite");
    });
}

fn time(name: &str, implementation: &str, mut update: impl FnMut()) {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (warm_up, calls) = if is_test { (1, 3) } else { (300, 2000) };
    for _ in 0..warm_up {
        update();
    }
    let times = Quantiles::of(calls, update);
    let [median, p90, p99] = [times.median, times.p90, times.p99].map(micros);
    println!("{name}\t{implementation}\t{median}\t{p90}\t{p99}");
}

/// Fails when most units of a network with ReLUs answer nothing.
fn must_be_alive(plain: &Plain) {
    let mut normalisers = Normalisers::default();
    let (mut units, mut live) = (0.0, 0.0);
    for transition in transitions().take(100) {
        let (before, ..) = normalisers.observe(&transition).expect("finite");
        // Linear layers and ReLUs in turn, the last linear one left out.
        let outputs = plain.net.forward_all(&features(&before), None);
        for output in outputs.iter().skip(1).step_by(2) {
            units += output.numel() as f64;
            live += f64::try_from(output.gt(0.0).sum(Kind::Float)).expect("a number");
        }
    }
    assert!(live > 0.1 * units, "only {:.2} of the units answer", live / units);
}
