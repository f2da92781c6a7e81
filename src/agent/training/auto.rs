//! Which site is cheaper.
//!
//! Each site's joules per update (above the idle board, by the same formula for both) and seconds per update are running
//! means. A site is acceptable if an update takes no longer than the bound; of acceptable ones the one with fewer
//! joules is kept. The other is looked at from time to time: for 20 updates, and after every look that changed
//! nothing twice as many updates later. A trainer that went silent is left at once, and looked at like any other.

use super::TrainingSite;
use std::time::Duration;

/// Updates of a look at the other site.
const PROBE: u64 = 20;
/// Updates until the first look after a decision.
const FIRST_LOOK: u64 = 100;
/// The most updates between two looks.
const LAST_LOOK: u64 = 6_400;
/// Weight of the newest value in a mean.
const RATE: f64 = 0.1;

/// What is known of a site.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    seconds: Option<f64>,
    joules: Option<f64>,
}

/// Keeps the cheaper site.
#[derive(Clone, Debug)]
pub struct Chooser {
    bound: Duration,
    costs: [Cost; 2],
    home: TrainingSite,
    /// Updates since the last change of site, and until the next look.
    since: u64,
    next_look: u64,
    wait: u64,
}

impl Chooser {
    /// An update may take as long as `bound`.
    pub fn new(bound: Duration) -> Self {
        Self {
            bound,
            costs: [Cost::default(); 2],
            home: TrainingSite::Local,
            since: 0,
            // Nothing is known of the MEC: it is looked at as soon as something is known of the device.
            next_look: PROBE,
            wait: FIRST_LOOK,
        }
    }

    /// An update may take as long as this, and so may a trainer be silent.
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Whether the updates at hand are a look at the other site.
    fn is_looking(&self, site: TrainingSite) -> bool {
        site != self.home
    }

    /// An update took so long.
    pub fn note_seconds(&mut self, site: TrainingSite, seconds: f64) {
        mix(&mut self.costs[site as usize].seconds, seconds);
        self.since += 1;
    }

    /// An update took so much energy.
    pub fn note_joules(&mut self, site: TrainingSite, joules: f64) {
        mix(&mut self.costs[site as usize].joules, joules);
    }

    /// The trainer does not answer: training is at home on the device.
    pub fn silent(&mut self) {
        self.costs[TrainingSite::Mec as usize] = Cost::default();
        self.settle(TrainingSite::Local, false);
    }

    /// Where the next updates belong, while training is at `site`.
    pub fn choose(&mut self, site: TrainingSite) -> TrainingSite {
        if !self.is_looking(site) {
            let is_due = self.since >= self.next_look;
            if is_due {
                self.since = 0;
            }
            return if is_due { other(site) } else { site };
        }
        if self.since < PROBE {
            return site;
        }
        let better = self.is_better(site, self.home);
        self.settle(if better { site } else { self.home }, better);
        self.home
    }

    fn settle(&mut self, home: TrainingSite, has_changed: bool) {
        self.wait = if has_changed {
            FIRST_LOOK
        } else {
            (2 * self.wait).min(LAST_LOOK)
        };
        (self.home, self.since, self.next_look) = (home, 0, self.wait);
    }

    fn is_better(&self, one: TrainingSite, another: TrainingSite) -> bool {
        let (a, b) = (self.costs[one as usize], self.costs[another as usize]);
        let acceptable = |cost: Cost| cost.seconds.is_some_and(|s| s <= self.bound.as_secs_f64());
        match (acceptable(a), acceptable(b)) {
            (true, true) => matches!((a.joules, b.joules), (Some(a), Some(b)) if a < b),
            (is_acceptable, _) => is_acceptable,
        }
    }
}

fn other(site: TrainingSite) -> TrainingSite {
    match site {
        TrainingSite::Local => TrainingSite::Mec,
        TrainingSite::Mec => TrainingSite::Local,
    }
}

fn mix(mean: &mut Option<f64>, value: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + RATE * (value - mean)));
}

#[cfg(test)]
mod tests {
    use super::TrainingSite::{Local, Mec};
    use super::*;

    /// Runs `updates` at joules and seconds of each site; returns how many ran on the MEC.
    fn drive(chooser: &mut Chooser, updates: u64, joules: [f64; 2], seconds: [f64; 2]) -> u64 {
        let (mut site, mut on_mec) = (chooser.home, 0);
        for _ in 0..updates {
            chooser.note_seconds(site, seconds[site as usize]);
            chooser.note_joules(site, joules[site as usize]);
            on_mec += u64::from(site == Mec);
            site = chooser.choose(site);
        }
        on_mec
    }

    #[test]
    fn the_cheaper_site_is_kept_and_the_other_looked_at_less_and_less() {
        let mut chooser = Chooser::new(Duration::from_secs(1));
        let on_mec = drive(&mut chooser, 2000, [1.0, 2.0], [0.001, 0.01]);
        assert_eq!(chooser.home, Local);
        assert_eq!(on_mec, 4 * PROBE, "looks after 20, 200, 400 and 800 updates");
        let on_mec = drive(&mut chooser, 2000, [2.0, 1.0], [0.001, 0.01]);
        assert_eq!(chooser.home, Mec);
        assert!(on_mec > 500, "{on_mec}");
    }

    #[test]
    fn a_site_beyond_the_bound_is_not_kept_however_cheap() {
        let mut chooser = Chooser::new(Duration::from_millis(5));
        drive(&mut chooser, 100, [2.0, 1.0], [0.001, 0.01]);
        assert_eq!(chooser.home, Local);
        drive(&mut chooser, 3000, [2.0, 1.0], [0.02, 0.001]);
        assert_eq!(chooser.home, Mec);
    }

    #[test]
    fn without_joules_of_both_nothing_is_changed() {
        let mut chooser = Chooser::new(Duration::from_secs(1));
        for _ in 0..500 {
            chooser.note_seconds(Local, 0.001);
            chooser.note_seconds(Mec, 0.001);
            chooser.choose(Local);
            chooser.choose(Mec);
        }
        assert_eq!(chooser.home, Local);
    }

    #[test]
    fn a_silent_trainer_is_left_and_tried_again_later() {
        let mut chooser = Chooser::new(Duration::from_secs(1));
        drive(&mut chooser, 200, [2.0, 1.0], [0.001, 0.01]);
        assert_eq!(chooser.home, Mec);
        chooser.silent();
        assert_eq!(chooser.choose(Local), Local);
        let on_mec = drive(&mut chooser, 1000, [2.0, 1.0], [0.001, 0.01]);
        assert_eq!(chooser.home, Mec);
        assert!(on_mec > 500, "{on_mec}");
    }
}
