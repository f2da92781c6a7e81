//! Power over time whose energy is known exactly.

use super::Random;
use crate::units::{Joules, Seconds, Watts};

/// The kinds of waveform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The same all the time.
    Constant,
    /// A straight line from one power to another.
    Ramp,
    /// High and low in turn, with a period of 1 to 200 ms and a duty of 20 to 80 %.
    Square,
    /// High and low in turn 100 times per second, exactly in step with a meter that samples as often.
    InStep,
    /// Now and then high for 2 to 50 ms, low for ten times that on average.
    Bursts,
    /// High or low for random (exponential) times with a mean of 1 to 200 ms.
    Telegraph,
    /// Jumps up at random times and falls exponentially, with a time constant of 20 ms to 2 s.
    Decay,
}

impl Shape {
    /// All but [`Self::InStep`], which is a trial of its own.
    pub const ALL: [Self; 6] = [
        Self::Constant,
        Self::Ramp,
        Self::Square,
        Self::Bursts,
        Self::Telegraph,
        Self::Decay,
    ];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Ramp => "ramp",
            Self::Square => "square 1-200 ms",
            Self::InStep => "square 10 ms",
            Self::Bursts => "bursts",
            Self::Telegraph => "telegraph",
            Self::Decay => "decay",
        }
    }
}

/// Pieces of power, one after the other.
#[derive(Clone, Debug)]
pub struct Waveform {
    pieces: Vec<Piece>,
}

/// `level + slope t + bump exp(-t / tau)`, `t` counted from the piece's beginning.
#[derive(Clone, Copy, Debug)]
struct Piece {
    begin: f64,
    /// Energy of all pieces before.
    energy: f64,
    level: f64,
    slope: f64,
    bump: f64,
    tau: f64,
}

impl Waveform {
    /// A waveform of this shape for `length` seconds, with powers, times and phase drawn from `random`.
    pub fn draw(shape: Shape, length: Seconds, random: &mut Random) -> Self {
        let length = length.0;
        let low = random.uniform(1.0, 4.0);
        let high = low + random.uniform(1.0, 10.0);
        let mut wave = Self { pieces: Vec::new() };
        match shape {
            Shape::Constant => wave.add(0.0, low, 0.0, 0.0, 1.0),
            Shape::Ramp => {
                let slope = (high - low) / length * if random.chance(0.5) { 1.0 } else { -1.0 };
                let start = if slope > 0.0 { low } else { high };
                wave.add(0.0, start, slope, 0.0, 1.0);
            }
            Shape::Square | Shape::InStep => {
                let period = match shape {
                    Shape::InStep => 0.01,
                    _ => random.log_uniform(0.001, 0.2),
                };
                let duty = random.uniform(0.2, 0.8);
                let phase = random.uniform(0.0, period);
                let dwell = [duty * period, (1.0 - duty) * period];
                wave.alternate(length, [high, low], phase, |i, _| dwell[i], random);
            }
            Shape::Bursts => {
                let burst = random.log_uniform(0.002, 0.05);
                let dwell = |i: usize, random: &mut Random| match i {
                    0 => burst,
                    _ => random.exponential(10.0 * burst),
                };
                wave.alternate(length, [high, low], 0.0, dwell, random);
            }
            Shape::Telegraph => {
                let mean = random.log_uniform(0.001, 0.2);
                wave.alternate(
                    length,
                    [high, low],
                    0.0,
                    |_, random| random.exponential(mean),
                    random,
                );
            }
            Shape::Decay => {
                let tau = random.log_uniform(0.02, 2.0);
                let (mut t, mut bump) = (0.0, high - low);
                while t < length {
                    wave.add(t, low, 0.0, bump, tau);
                    let dwell = random.exponential(2.0 * tau);
                    bump = bump * (-dwell / tau).exp() + random.uniform(0.2, 1.0) * (high - low);
                    t += dwell;
                }
            }
        }
        wave
    }

    /// A waveform that stays at each level for some seconds, and at the last one for ever.
    pub fn of_levels(levels: &[(Seconds, Watts)]) -> Self {
        let mut wave = Self { pieces: Vec::new() };
        let mut begin = 0.0;
        for (length, level) in levels {
            wave.add(begin, level.0, 0.0, 0.0, 1.0);
            begin += length.0;
        }
        wave
    }

    fn alternate(
        &mut self,
        length: f64,
        levels: [f64; 2],
        phase: f64,
        mut dwell: impl FnMut(usize, &mut Random) -> f64,
        random: &mut Random,
    ) {
        let (mut t, mut i) = (-phase, 0);
        while t < length {
            let end = t + dwell(i, random).max(1e-6);
            if end > 0.0 {
                self.add(t.max(0.0), levels[i], 0.0, 0.0, 1.0);
            }
            t = end;
            i = 1 - i;
        }
    }

    fn add(&mut self, begin: f64, level: f64, slope: f64, bump: f64, tau: f64) {
        let energy = self.pieces.last().map_or(0.0, |last| last.energy_at(begin));
        self.pieces.push(Piece {
            begin,
            energy,
            level,
            slope,
            bump,
            tau,
        });
    }

    fn piece(&self, t: f64) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.begin <= t);
        self.pieces.get(after.saturating_sub(1))
    }

    /// Power `t` seconds after the beginning.
    pub fn power(&self, t: f64) -> Watts {
        Watts(self.piece(t).map_or(0.0, |piece| piece.power_at(t)))
    }

    /// Energy of the first `t` seconds, exactly.
    pub fn energy(&self, t: f64) -> Joules {
        Joules(self.piece(t).map_or(0.0, |piece| piece.energy_at(t)))
    }

    /// Mean power from `from` to `to`.
    pub fn mean(&self, from: f64, to: f64) -> Watts {
        (self.energy(to) - self.energy(from)) / Seconds(to - from)
    }
}

impl Piece {
    fn power_at(&self, t: f64) -> f64 {
        let t = t - self.begin;
        self.level + self.slope * t + self.bump * (-t / self.tau).exp()
    }

    fn energy_at(&self, t: f64) -> f64 {
        let t = t - self.begin;
        self.energy + self.level * t + 0.5 * self.slope * t * t
            - self.bump * self.tau * (-t / self.tau).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_energy_is_the_integral_of_the_power() {
        for (seed, shape) in Shape::ALL.into_iter().enumerate() {
            let mut random = Random::new(seed as u64);
            let wave = Waveform::draw(shape, Seconds(3.0), &mut random);
            let steps = 300_000;
            let dt = 2.5 / f64::from(steps);
            let sum: f64 = (0..steps)
                .map(|i| wave.power(0.25 + (f64::from(i) + 0.5) * dt).0 * dt)
                .sum();
            let exact = (wave.energy(2.75) - wave.energy(0.25)).0;
            assert!((sum / exact - 1.0).abs() < 1e-4, "{shape:?}: {sum} {exact}");
        }
    }
}
