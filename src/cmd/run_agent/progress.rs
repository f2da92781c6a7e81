//! Rows on their way to the file, and the bar that shows them.

use hwmeter::agent::ledger::Sink;
use hwmeter::agent::summary::Tally;
use hwmeter::record::DecisionRecord;
use hwmeter::run_dir::DecisionWriter;
use indicatif::{ProgressBar, ProgressStyle};

/// Rows on their way to the file, and the bar that shows them.
pub struct Progress<'a> {
    rows: &'a mut DecisionWriter,
    tally: Tally,
    pub bar: ProgressBar,
}

impl<'a> Progress<'a> {
    /// The bar hides itself when stderr is not a terminal.
    pub fn new(rows: &'a mut DecisionWriter, tasks: u64) -> Self {
        let bar = ProgressBar::new(tasks);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} tasks  {msg}  {eta} left") {
            bar.set_style(style);
        }
        Self {
            rows,
            tally: Tally::default(),
            bar,
        }
    }
}

impl Sink for Progress<'_> {
    fn write(&mut self, record: &DecisionRecord) -> anyhow::Result<()> {
        self.tally.add(record);
        let [local, mec, cloud] = self.tally.placements();
        let reward = self.tally.mean_reward().unwrap_or(f64::NAN);
        self.bar.set_message(format!(
            "local {local} mec {mec} cloud {cloud}  reward {reward:.2}  {:.0} J",
            self.tally.joules()
        ));
        self.bar.inc(1);
        self.rows.write(record)
    }
}
