//! The phases of a run, or of several, as a table.

use super::Measurement;
use super::report::{MOST_ROWS, energy_cell, watts_cell, without_column};
use super::warnings::Several;
use crate::ui::{self, table};
use hwmeter_hw::combine::{self, Terms};
use hwmeter_hw::span::SpanEnergy;
use hwmeter_hw::units::Seconds;

/// Each phase in order of time; where a name came several times, its total too.
pub fn print(several: &Several) {
    let phases: Vec<(&Measurement, &SpanEnergy)> = several
        .all()
        .flat_map(|m| m.phases.iter().map(move |phase| (m, phase)))
        .collect();
    let Some((first, _)) = phases.first() else { return };
    let totals = totals(&phases);
    let has_net = first.idle.is_some();
    let mut rows = table(&["PHASE", "ENERGY", "NET", "TIME", "MEAN", "COVERAGE", "SAMPLES"]);
    if phases.len() <= MOST_ROWS {
        for (measurement, phase) in &phases {
            let net = measurement.idle.as_ref().and_then(|idle| idle.net(phase));
            rows.add_row([
                phase.name.clone(),
                energy_cell(Terms::of(phase).as_ref()),
                energy_cell(net.as_ref()),
                ui::seconds(phase.duration().0),
                watts_cell(phase),
                format!("{:.1} %", 100.0 * phase.coverage),
                phase.samples.to_string(),
            ]);
        }
    }
    // Beside the phases themselves, a total says something only where it sums up several.
    let fewest = if phases.len() <= MOST_ROWS { 2 } else { 1 };
    let sums = totals.iter().filter(|total| total.count >= fewest);
    rows.add_rows(sums.take(MOST_ROWS).map(PhaseTotal::row));
    anstream::eprintln!("\n{}", without_column(rows, 2, !has_net).trim_fmt());
    if totals.len() > MOST_ROWS {
        let more = totals.len() - MOST_ROWS;
        anstream::eprintln!("and {more} more names; --json has all phases");
    }
}

/// All phases of one name.
struct PhaseTotal {
    name: String,
    count: usize,
    gross: Vec<Terms>,
    net: Vec<Terms>,
    duration: Seconds,
    covered: f64,
    samples: u64,
}

impl PhaseTotal {
    fn row(&self) -> [String; 7] {
        let gross = combine::sum(&self.gross);
        let mean = gross.as_ref().map(|sum| sum.joules / self.duration);
        [
            format!("{}, {} times", self.name, self.count),
            energy_cell(gross.as_ref()),
            energy_cell(combine::sum(&self.net).as_ref()),
            ui::seconds(self.duration.0),
            mean.map_or("-".to_owned(), |mean| format!("{mean:.3}")),
            format!("{:.1} %", 100.0 * self.covered / self.duration.0),
            self.samples.to_string(),
        ]
    }

    fn add(&mut self, measurement: &Measurement, phase: &SpanEnergy) {
        self.count += 1;
        self.gross.extend(Terms::of(phase));
        self.net
            .extend(measurement.idle.as_ref().and_then(|idle| idle.net(phase)));
        self.duration += phase.duration();
        self.covered += phase.duration().0 * phase.coverage;
        self.samples += phase.samples;
    }
}

/// The totals by name, in the order in which the names first came.
fn totals(phases: &[(&Measurement, &SpanEnergy)]) -> Vec<PhaseTotal> {
    let mut totals: Vec<PhaseTotal> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (measurement, phase) in phases {
        let place = *places.entry(phase.name.as_str()).or_insert_with(|| {
            totals.push(PhaseTotal {
                name: phase.name.clone(),
                count: 0,
                gross: Vec::new(),
                net: Vec::new(),
                duration: Seconds::ZERO,
                covered: 0.0,
                samples: 0,
            });
            totals.len() - 1
        });
        totals[place].add(measurement, phase);
    }
    totals
}
