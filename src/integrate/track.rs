//! One sensor of a trace: its rows become samples.

use super::head::{Cell, Sample, nominal_period, sensor_info};
use super::plan::Plan;
use super::running::Running;
use super::{MOST_NAMES, SensorSpans};
use crate::trace::TracedSensor;
use hwmeter_hw::trace::Row;
use hwmeter_hw::units::Seconds;

/// Samples looked at before the first is integrated.
const HEAD: usize = 256;

/// One sensor of a trace.
pub struct Track {
    id: Option<String>,
    known: Option<TracedSensor>,
    is_wanted: bool,
    /// Names, in the order of [`Sample::cells`].
    rails: Vec<String>,
    /// The sample whose rows are being read.
    sample: Sample,
    is_begun: bool,
    /// The rail after the one of the last row: rows mostly come in the same order.
    next_rail: usize,
    first: Seconds,
    last: Seconds,
    stage: Stage,
}

enum Stage {
    Head(Vec<Sample>),
    Running(Box<Running>),
}

impl Track {
    /// A sensor that appears for the first time. If it is not wanted, its rows are only checked.
    pub fn new(id: Option<&str>, known: Option<TracedSensor>, is_wanted: bool) -> Self {
        let rails = known.iter().flat_map(|traced| &traced.sensor.rails);
        Self {
            id: id.map(str::to_owned),
            rails: rails.map(|rail| rail.name.clone()).collect(),
            known,
            is_wanted,
            sample: Sample::default(),
            is_begun: false,
            next_rail: 0,
            first: Seconds::ZERO,
            last: Seconds::ZERO,
            stage: Stage::Head(Vec::new()),
        }
    }

    /// The sensor's id; `None` in a two-column trace.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether anybody asked for it.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Takes in a row; the error says what is wrong with it.
    pub fn take(&mut self, row: &Row<'_>, plan: &Plan<'_>) -> Result<(), String> {
        self.go_to(row.t, plan)?;
        let rail = self.rail(&row.rail)?;
        let cell = &mut self.sample.cells[rail];
        if cell.is_some() {
            return Err(format!("time {} of rail {} repeats", row.t.0, row.rail));
        }
        *cell = Some(Cell {
            power: row.power,
            energy: row.energy,
        });
        self.next_rail = rail + 1;
        self.last = row.t;
        Ok(())
    }

    /// Makes `t` the time of the current sample; one before it is complete now.
    fn go_to(&mut self, t: Seconds, plan: &Plan<'_>) -> Result<(), String> {
        let moment = plan
            .moment(t)
            .ok_or_else(|| format!("time {} lies more than a century from the first row", t.0))?;
        if self.is_begun && moment == self.sample.t {
            return Ok(());
        }
        if self.is_begun && moment < self.sample.t {
            return Err(format!(
                "time {} goes back behind {}; sort the rows by t_s",
                t.0, self.last.0
            ));
        }
        if self.is_begun {
            self.complete_sample(plan);
        } else {
            self.first = t;
        }
        self.is_begun = true;
        self.sample.t = moment;
        self.sample.cells.clear();
        self.sample.cells.resize(self.rails.len(), None);
        Ok(())
    }

    fn rail(&mut self, name: &str) -> Result<usize, String> {
        let guess = self.next_rail % self.rails.len().max(1);
        if self.rails.get(guess).is_some_and(|rail| rail == name) {
            return Ok(guess);
        }
        if let Some(known) = self.rails.iter().position(|rail| rail == name) {
            return Ok(known);
        }
        let is_open = self.known.is_none() && matches!(self.stage, Stage::Head(_));
        if !is_open {
            let rails = self.rails.join(", ");
            return Err(format!("rail {name} is new; its sensor has the rails {rails}"));
        }
        if self.rails.len() == MOST_NAMES {
            return Err(format!("the rails are more than {MOST_NAMES}; is this a trace?"));
        }
        self.rails.push(name.to_owned());
        self.sample.cells.push(None);
        Ok(self.rails.len() - 1)
    }

    fn complete_sample(&mut self, plan: &Plan<'_>) {
        if !self.is_wanted {
            return;
        }
        match &mut self.stage {
            Stage::Running(running) => running.push(&self.sample, plan),
            Stage::Head(head) => {
                head.push(self.sample.clone());
                if head.len() == HEAD {
                    self.run(plan);
                }
            }
        }
    }

    /// The head is complete: from here on every sample is integrated as it comes.
    fn run(&mut self, plan: &Plan<'_>) {
        let Stage::Head(head) = &mut self.stage else {
            return;
        };
        let mut head = std::mem::take(head);
        for sample in &mut head {
            sample.cells.resize(self.rails.len(), None); // rails that appeared later
        }
        let (info, has_total) = sensor_info(self.known.as_ref(), &self.rails);
        let period = nominal_period(self.known.as_ref(), &head);
        let mut running = Running::new(info, has_total, period, &head, plan);
        head.iter().for_each(|sample| running.push(sample, plan));
        self.stage = Stage::Running(Box::new(running));
    }

    /// The trace has ended: every interval's energy.
    pub fn finish(mut self, plan: &Plan<'_>) -> SensorSpans {
        self.complete_sample(plan);
        self.run(plan);
        let (has_total, rails, spans) = match self.stage {
            Stage::Running(running) => running.finish(plan, self.first, self.last),
            Stage::Head(_) => Default::default(), // `run` has ended that stage
        };
        SensorSpans {
            id: self.id,
            kind: self.known.as_ref().map(|traced| traced.sensor.kind),
            has_accuracy: self.known.is_some(),
            has_total,
            rails,
            spans,
        }
    }
}
