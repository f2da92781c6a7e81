//! Load steps: how much power the board takes at which load, as a meter sees it.
//!
//! Each step makes a load on some cores for a share of the time (see [`load`](crate::load)), lets power and sensor settle,
//! and then reports what really was: utilisation from `/proc/stat`, frequency from cpufreq, mean power from the meter.
//! Where cpufreq's limits may be set, some steps run at other frequencies too. Whatever a step changes is put back when
//! it ends, by an error or a panic too.

use crate::combine::is_common;
use crate::cpu::{Affinity, CpuTimesReader};
use crate::cpufreq::{self, Frequencies, Settings};
use crate::current_frequency::CurrentFrequency;
use crate::error::Result;
use crate::load::Load;
use crate::meter::Meter;
use crate::root::Root;
use crate::sensor::{Kind, SensorInfo};
use crate::span::SpanEnergy;
use crate::units::{Seconds, Watts};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A step to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Busy cores, the first ones of the plan.
    pub busy_cores: usize,
    /// Share of the time for which they are to be busy, 0 to 1.
    pub share: f64,
    /// Frequency to hold meanwhile; `None` leaves it to the governor.
    pub khz: Option<u64>,
}

/// The steps to take, and how long each takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The cores that may be loaded.
    pub cores: Vec<usize>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Time from the beginning of a load until power and sensor have settled.
    pub settle: Duration,
    /// Time over which power is averaged.
    pub length: Duration,
    /// What the plan leaves out, and why.
    pub notes: Vec<String>,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Eight steps, the governor's own frequencies.
    Quick,
    /// Every number of cores, four shares, three frequencies.
    Default,
    /// The same, twice and longer.
    Full,
}

/// Numbers of busy cores to try at most.
const MOST_CORE_COUNTS: usize = 8;

impl Plan {
    /// The plan for the cores that this process may use, on the board below `root`, seen by the sensor `info`: a slow one
    /// gets more time.
    pub fn new(root: &Root, info: &SensorInfo, effort: Effort) -> Result<Self> {
        let cores = Affinity::current()?;
        let (settle, length) = match effort {
            Effort::Quick => (0.3, 0.5),
            Effort::Default => (1.0, 2.0),
            Effort::Full => (1.0, 5.0),
        };
        let (settling, updates) = slowness(info);
        let mut plan = Self {
            steps: steps_of(cores.len(), effort),
            cores,
            settle: Duration::from_secs_f64(settling.max(settle)),
            length: Duration::from_secs_f64(updates.max(length)),
            notes: Vec::new(),
        };
        if effort != Effort::Quick {
            plan.add_frequencies(root);
        }
        Ok(plan)
    }

    /// The time the plan takes.
    pub fn duration(&self) -> Duration {
        (self.settle + self.length) * self.steps.len() as u32
    }

    /// Steps at the lowest and at a middle frequency, where the limits may be set.
    fn add_frequencies(&mut self, root: &Root) {
        match settable_range(root) {
            Ok((lowest, highest)) => {
                for khz in [lowest, (lowest + highest) / 2] {
                    let at = |busy_cores, share| Step {
                        busy_cores,
                        share,
                        khz: Some(khz),
                    };
                    let all = self.cores.len();
                    self.steps
                        .extend([at(0, 0.0), at(all, 0.5), at(1, 1.0), at(all, 1.0)]);
                }
            }
            Err(why) => self.notes.push(format!("no steps at other frequencies: {why}")),
        }
    }
}

/// Seconds until a sensor shows what is, and in which it has a few new values. What a file claims is held in bounds.
fn slowness(info: &SensorInfo) -> (f64, f64) {
    let seconds = |x: Option<Seconds>| x.map_or(0.0, |x| x.0);
    let accuracy = &info.accuracy;
    let update = seconds(accuracy.update_period);
    let settling = 5.0 * seconds(accuracy.lag) + seconds(accuracy.window) + 2.0 * update;
    (settling.min(LONGEST_WAIT_S), (4.0 * update).min(LONGEST_WAIT_S))
}

/// Low and high loads take turns, so that a drift (the board warms up) does not pass for a slope.
fn steps_of(cores: usize, effort: Effort) -> Vec<Step> {
    let at = |busy_cores, share| Step {
        busy_cores,
        share,
        khz: None,
    };
    let mut steps: Vec<Step> = [0.25, 0.5, 0.75, 1.0].map(|share| at(cores, share)).into();
    let stride = cores.div_ceil(MOST_CORE_COUNTS);
    let stride = if effort == Effort::Quick {
        cores.div_ceil(2)
    } else {
        stride
    };
    steps.extend((1..cores).step_by(stride.max(1)).map(|n| at(n, 1.0)));
    if effort != Effort::Quick {
        steps.extend([at(1, 0.5), at(cores.div_ceil(2), 0.5), at(cores, 0.1)]);
    }
    steps.sort_by(|a, b| (a.busy_cores as f64 * a.share).total_cmp(&(b.busy_cores as f64 * b.share)));
    let mut taking_turns = vec![at(0, 0.0)];
    while !steps.is_empty() {
        taking_turns.push(steps.remove(0));
        taking_turns.extend(steps.pop());
    }
    if effort == Effort::Full {
        taking_turns.extend_from_within(..);
    }
    taking_turns.push(at(0, 0.0));
    taking_turns
}

/// Lowest and highest frequency in kHz that every policy can do; or why none can be set. Sets the limits to what they
/// are to find out.
fn settable_range(root: &Root) -> std::result::Result<(u64, u64), String> {
    let policies = cpufreq::policies(root).map_err(|error| error.to_string())?;
    let lowest = policies.iter().map(|policy| policy.hardware_khz.0).max();
    let highest = policies.iter().map(|policy| policy.hardware_khz.1).min();
    let (Some(lowest), Some(highest)) = (lowest, highest) else {
        return Err("this kernel shows no frequency scaling".to_owned());
    };
    if lowest >= highest {
        return Err("the clusters share no range of frequencies".to_owned());
    }
    let settings = held(highest);
    let changed = Frequencies::set(root, &settings).map_err(|error| error.to_string())?;
    changed.restore().map_err(|error| error.to_string())?;
    Ok((lowest, highest))
}

fn held(khz: u64) -> Settings {
    Settings {
        governor: None,
        min_khz: Some(khz),
        max_khz: Some(khz),
    }
}

/// What a step was in truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStep {
    /// Cores that were kept busy.
    pub busy_cores: usize,
    /// Share of the time that was asked for.
    pub share: f64,
    /// Share of the time in which the machine's cores were not idle, over all of them.
    pub utilisation: f64,
    /// Mean frequency of all cores in hertz, where the kernel shows it.
    pub hz: Option<f64>,
    /// Mean power.
    pub watts: Watts,
    /// Its standard uncertainty, without what all steps share (the meter's gain and offset).
    pub uncertainty: Watts,
}

/// The steps taken.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadSteps {
    /// The id of the sensor that saw them.
    pub sensor: String,
    /// Whether it measures.
    pub kind: Kind,
    /// Its relative standard uncertainty that all steps share: its gain, its offset. The root mean square over the steps.
    pub gain: f64,
    /// The steps, in the order they were taken.
    pub steps: Vec<LoadStep>,
    /// The highest frequency in hertz that any core can do, where the kernel shows it.
    pub highest_hz: Option<f64>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// Why it ended before the last step of the plan, if it did: the steps until then stand.
    pub partial: Option<String>,
}

/// A step needs samples for this share of its time.
const LEAST_COVERAGE: f64 = 0.5;

/// However slow a sensor is.
const LONGEST_WAIT_S: f64 = 20.0;

/// An idle machine that is busier, and a load that reaches less of what was asked for, are worth a word.
const BUSY: f64 = 0.1;
const LEAST_REACHED: f64 = 0.8;

/// How often the frequency is looked at.
const FREQUENCY_PERIOD: Duration = Duration::from_millis(50);

/// Takes the steps of a plan while `meter` watches; `before` is told each step, and how many came before it. An error
/// only if nothing could be started; a meter that stops in the middle ends it with the steps until then.
pub fn run(
    plan: &Plan,
    meter: &Meter,
    root: &Root,
    mut before: impl FnMut(usize, &Step),
) -> Result<LoadSteps> {
    let info = meter.info();
    let mut taker = Taker {
        plan,
        meter,
        root,
        times: CpuTimesReader::open(root)?,
        frequency: CurrentFrequency::open(root),
        cores: 0,
        shared: Vec::new(),
    };
    taker.cores = taker.times.read()?.cores;
    let mut taken = LoadSteps {
        sensor: info.id.clone(),
        kind: info.kind,
        gain: 0.0,
        steps: Vec::new(),
        highest_hz: taker.frequency.as_ref().map(CurrentFrequency::highest_hz),
        notes: plan.notes.clone(),
        partial: None,
    };
    for (n, step) in plan.steps.iter().enumerate() {
        before(n, step);
        let why = match taker.take(step) {
            Ok(Ok(step)) => {
                taken.steps.push(step);
                continue;
            }
            Ok(Err(why)) => why,
            Err(error) if taken.steps.is_empty() => return Err(error),
            Err(error) => error.to_string(),
        };
        let of = plan.steps.len();
        taken.partial = Some(format!("ended at step {} of {of}: {why}", n + 1));
        break;
    }
    taken.gain = root_mean_square(&taker.shared);
    taken.notes.extend(disturbances(&taken.steps, taker.cores));
    Ok(taken)
}

/// What else the machine did, or did not let us do.
fn disturbances(steps: &[LoadStep], cores: usize) -> Vec<String> {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let mut notes = Vec::new();
    let idle = steps.iter().filter(|step| step.share == 0.0);
    let busiest = idle.map(|step| step.utilisation).fold(0.0, f64::max);
    if busiest > BUSY {
        notes.push(format!(
            "the machine was busy with something else: {} at idle",
            percent(busiest)
        ));
    }
    let asked = |step: &LoadStep| (step.busy_cores as f64 * step.share / cores.max(1) as f64).min(1.0);
    let least = steps.iter().filter(|step| step.share == 1.0);
    let least = least.min_by(|a, b| (a.utilisation / asked(a)).total_cmp(&(b.utilisation / asked(b))));
    if let Some(step) = least.filter(|step| step.utilisation < LEAST_REACHED * asked(step)) {
        notes.push(format!(
            "a load of {} reached {}: something else runs, or this process is held to a part of the CPU",
            percent(asked(step)),
            percent(step.utilisation)
        ));
    }
    notes
}

struct Taker<'a> {
    plan: &'a Plan,
    meter: &'a Meter,
    root: &'a Root,
    times: CpuTimesReader,
    frequency: Option<CurrentFrequency>,
    /// Cores of the machine, ours or not.
    cores: usize,
    /// Of each step, the relative uncertainty that it shares with the others.
    shared: Vec<f64>,
}

impl Taker<'_> {
    /// One step; or, in words, why the meter says nothing about it.
    fn take(&mut self, step: &Step) -> Result<std::result::Result<LoadStep, String>> {
        let settings = step.khz.map(held);
        let _frequencies = settings
            .map(|settings| Frequencies::set(self.root, &settings))
            .transpose()?;
        let busy = &self.plan.cores[..step.busy_cores.min(self.plan.cores.len())];
        let _load = Load::start(busy, step.share)?;
        std::thread::sleep(self.plan.settle);
        let before = self.times.read()?;
        let span = self.meter.span("load step");
        let hz = self.watch_frequency();
        let span = span.end();
        let after = self.times.read()?;
        let energy = span.wait();
        let Some(utilisation) = after.utilisation_since(&before) else {
            return Ok(Err("/proc/stat did not move".to_owned()));
        };
        Ok(match self.power(&energy) {
            Err(why) => Err(why),
            Ok((watts, uncertainty)) => Ok(LoadStep {
                busy_cores: busy.len(),
                share: step.share,
                utilisation,
                hz,
                watts,
                uncertainty,
            }),
        })
    }

    /// Waits for the length of a step; the mean frequency meanwhile.
    fn watch_frequency(&mut self) -> Option<f64> {
        let end = Instant::now() + self.plan.length;
        let (mut sum, mut looks) = (0.0, 0.0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(FREQUENCY_PERIOD));
            if let Some(hz) = self.frequency.as_mut().and_then(CurrentFrequency::read_hz) {
                sum += hz;
                looks += 1.0;
            }
        }
        (looks > 0.0).then(|| sum / looks)
    }

    fn power(&mut self, energy: &SpanEnergy) -> std::result::Result<(Watts, Watts), String> {
        match energy.mean_power() {
            Some(watts) if energy.coverage >= LEAST_COVERAGE => {
                let shared = uncertainty(energy, is_common);
                self.shared.push(shared.0 / watts.0.abs().max(f64::MIN_POSITIVE));
                Ok((watts, uncertainty(energy, |term| !is_common(term))))
            }
            _ => {
                let stats = self.meter.stats();
                let reason = stats.last_error.map(|error| format!(": {error}"));
                Err(format!(
                    "{} gave values for {:.0} % of it{}",
                    self.meter.info().id,
                    100.0 * energy.coverage,
                    reason.unwrap_or_default()
                ))
            }
        }
    }
}

/// Standard uncertainty of the mean power by some of its terms.
fn uncertainty(energy: &SpanEnergy, counts: impl Fn(&str) -> bool) -> Watts {
    let terms = energy.budget.terms();
    let terms = terms.iter().filter(|(name, _)| counts(name));
    let squares: f64 = terms.map(|(_, joules)| joules.0 * joules.0).sum();
    Watts(squares.sqrt() / energy.duration().0)
}

fn root_mean_square(numbers: &[f64]) -> f64 {
    let squares: f64 = numbers.iter().map(|number| number * number).sum();
    (squares / numbers.len().max(1) as f64).sqrt()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::meter::MeterOptions;
    use crate::sensor::{Rail, Reading, Role, Sensor};

    /// 3 W, until it has been read so often.
    struct Mortal(u32);

    impl Sensor for Mortal {
        fn read(&mut self) -> Result<Reading> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| {
                Error::os(
                    "reading the wall meter",
                    std::io::Error::from_raw_os_error(libc::EIO),
                )
            })?;
            Ok(Reading::of_power(Watts(3.0)))
        }

        /// 1 %, and 40 mW.
        fn info(&self) -> SensorInfo {
            let rail = Rail::new("total", Role::Total).with_offset(Watts(0.04));
            let mut info = SensorInfo::new("modbus", Kind::Measured, vec![rail]);
            info.accuracy.gain = 0.01;
            info
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan {
            cores: Affinity::current().unwrap(),
            steps,
            settle: Duration::from_millis(20),
            length: Duration::from_millis(200),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_meter_that_stops_leaves_the_steps_until_then() {
        let meter = Meter::start(Mortal(35), MeterOptions::at(100.0)).unwrap();
        let plan = plan(vec![steps_of(1, Effort::Quick)[0]; 4]);
        let mut begun = 0;
        let taken = run(&plan, &meter, &Root::default(), |n, _| begun = n).unwrap();
        assert!(!taken.steps.is_empty() && taken.steps.len() < 4, "{taken:?}");
        assert_eq!(begun, taken.steps.len(), "it does not go on without a meter");
        assert!((taken.steps[0].watts.0 - 3.0).abs() < 1e-9);
        let shared = 0.01f64.hypot(0.04 / 3.0);
        assert!(
            (taken.gain - shared).abs() < 1e-3 * shared,
            "{} {shared}",
            taken.gain
        );
        let why = taken.partial.unwrap();
        assert!(
            why.contains("of 4") && why.contains("reading the wall meter"),
            "{why}"
        );
    }

    #[test]
    fn plans_begin_and_end_idle_and_reach_every_number_of_cores_and_full_load() {
        for cores in [1, 2, 4, 6, 128] {
            for effort in [Effort::Quick, Effort::Default, Effort::Full] {
                let steps = steps_of(cores, effort);
                assert!(
                    (6..40).contains(&steps.len()),
                    "{cores} cores, {effort:?}: {}",
                    steps.len()
                );
                assert!(steps[0].share == 0.0 && steps[steps.len() - 1].share == 0.0);
                assert!(
                    steps
                        .iter()
                        .any(|step| step.busy_cores == cores && step.share == 1.0)
                );
                assert!(steps.iter().all(|step| step.busy_cores <= cores));
            }
        }
        let default = steps_of(4, Effort::Default);
        assert!((1..=4).all(|n| {
            default
                .iter()
                .any(|step| step.busy_cores == n && step.share == 1.0)
        }));
    }

    #[test]
    fn frequencies_are_held_during_a_step_and_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let policy = root.path("/sys/devices/system/cpu/cpufreq/policy0");
        std::fs::create_dir_all(&policy).unwrap();
        std::fs::create_dir_all(root.path("/proc")).unwrap();
        std::fs::copy("/proc/stat", root.path("/proc/stat")).unwrap();
        for (file, content) in [
            ("related_cpus", "0 1"),
            ("scaling_governor", "ondemand"),
            ("scaling_min_freq", "600000"),
            ("scaling_max_freq", "1800000"),
            ("cpuinfo_min_freq", "600000"),
            ("cpuinfo_max_freq", "1800000"),
            ("scaling_cur_freq", "600000"),
        ] {
            std::fs::write(policy.join(file), content).unwrap();
        }
        let read = |file| std::fs::read_to_string(policy.join(file)).unwrap();
        let whole = Plan::new(&root, &Mortal(1).info(), Effort::Default).unwrap();
        assert!(whole.notes.is_empty(), "{:?}", whole.notes);
        let khz: Vec<u64> = whole.steps.iter().filter_map(|step| step.khz).collect();
        assert!(khz.contains(&600_000) && khz.contains(&1_200_000), "{khz:?}");
        let meter = Meter::start(Mortal(10_000), MeterOptions::at(100.0)).unwrap();
        let mut taker = Taker {
            plan: &plan(Vec::new()),
            meter: &meter,
            root: &root,
            times: CpuTimesReader::open(&root).unwrap(),
            frequency: CurrentFrequency::open(&root),
            cores: 2,
            shared: Vec::new(),
        };
        let step = Step {
            busy_cores: 0,
            share: 0.0,
            khz: Some(1_200_000),
        };
        // The copied /proc/stat stands still: the step fails, and what it changed is put back.
        let held = std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                (read("scaling_min_freq"), read("scaling_max_freq"))
            });
            let why = taker.take(&step).unwrap().unwrap_err();
            assert!(why.contains("did not move"), "{why}");
            looker.join().unwrap()
        });
        assert_eq!(held, ("1200000".to_owned(), "1200000".to_owned()));
        assert_eq!(
            (read("scaling_min_freq"), read("scaling_max_freq")),
            ("600000".to_owned(), "1800000".to_owned())
        );
    }

    #[test]
    fn a_slow_sensor_gets_time_and_a_claim_of_a_year_does_not() {
        let plan = |update, lag| {
            let mut info = Mortal(1).info();
            info.accuracy.update_period = Some(Seconds(update));
            info.accuracy.lag = Some(Seconds(lag));
            let plan = Plan::new(&Root::default(), &info, Effort::Quick).unwrap();
            (plan.settle.as_secs_f64(), plan.length.as_secs_f64())
        };
        assert_eq!(plan(0.001, 0.01), (0.3, 0.5));
        assert_eq!(plan(1.0, 0.4), (4.0, 4.0));
        assert_eq!(plan(3e7, 0.0), (20.0, 20.0));
    }

    #[test]
    fn other_programs_and_limits_are_told() {
        let step = |busy_cores, utilisation| LoadStep {
            busy_cores,
            share: if busy_cores == 0 { 0.0 } else { 1.0 },
            utilisation,
            hz: None,
            watts: Watts(3.0),
            uncertainty: Watts(0.1),
        };
        assert_eq!(
            disturbances(&[step(0, 0.02), step(2, 0.51), step(4, 0.99)], 4),
            [""; 0]
        );
        let notes = disturbances(&[step(0, 0.3), step(2, 0.5), step(4, 0.6)], 4);
        assert!(
            notes[0].contains("30 % at idle") && notes[1].contains("100 % reached 60 %"),
            "{notes:?}"
        );
    }
}
