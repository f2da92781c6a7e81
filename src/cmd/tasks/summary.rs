//! What a generated set is like, in the terminal: on stderr, so that it never gets into a file.

use crate::cli::{CostsArg, GenerateArgs};
use crate::ui::{self, BOLD, WARN, paint, table};
use hwmeter::task::file::TaskRow;
use hwmeter::task::generate::{Parameters, TOLERANCE};
use hwmeter::task::{Content, CostModel, Program};

/// The widest bar of the histogram.
const BAR: usize = 40;

/// Bars of the histogram in each decade.
const BARS_PER_DECADE: f64 = 3.0;

/// Prints it.
pub fn print(rows: &[TaskRow], parameters: &Parameters, cost: &CostModel, args: &GenerateArgs) {
    let sum: f64 = rows.iter().filter_map(|row| row.utilisation).sum();
    let (count, cores, seed) = (rows.len(), parameters.cores, parameters.seed);
    let title = format!("{count} tasks, utilisation {sum:.3} of {cores} cores, seed {seed}");
    anstream::eprintln!("{}", paint(BOLD, title));
    spreads(rows);
    filled(rows, parameters, cost, args);
    histogram(rows);
}

/// Least, median, mean and greatest of each figure.
fn spreads(rows: &[TaskRow]) {
    let mut text = table(&["", "MIN", "MEDIAN", "MEAN", "MAX"]);
    let mut add = |name: &str, values: Vec<f64>, format: &dyn Fn(f64) -> String| {
        let cells = spread(values).map(format);
        text.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    let from_us = |value: Option<u64>| value.map(|us| us as f64 / 1e6);
    add(
        "period",
        rows.iter().filter_map(|row| from_us(row.period_us)).collect(),
        &ui::seconds,
    );
    add("execution time", executions(rows), &ui::seconds);
    add(
        "deadline",
        rows.iter().map(|row| row.deadline_s).collect(),
        &ui::seconds,
    );
    let kilobytes = |bytes: f64| format!("{:.0} kB", bytes / 1e3);
    add(
        "payload",
        rows.iter().map(|row| row.payload_bytes as f64).collect(),
        &kilobytes,
    );
    anstream::eprintln!("{}", text.trim_fmt());
}

fn spread(mut values: Vec<f64>) -> [f64; 4] {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let middle = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
    [
        values[0],
        middle,
        values.iter().sum::<f64>() / count as f64,
        values[count - 1],
    ]
}

/// Seconds of every task.
fn executions(rows: &[TaskRow]) -> Vec<f64> {
    rows.iter()
        .filter_map(|row| row.execution_us)
        .map(|us| us as f64 / 1e6)
        .collect()
}

/// How near the kernels come to the execution time, and a warning where a round is too coarse for a task.
fn filled(rows: &[TaskRow], parameters: &Parameters, cost: &CostModel, args: &GenerateArgs) {
    let share = |row: &TaskRow| match (&row.kernels, row.execution_us) {
        (Content::Exact(Program::Kernels(kernels)), Some(us)) => {
            Some(cost.cycles_of(kernels) / (us as f64 * parameters.mhz))
        }
        _ => None,
    };
    let shares: Vec<f64> = rows.iter().filter_map(share).collect();
    let [least, _, mean, most] = spread(shares.clone()).map(|share| 100.0 * share);
    let costs = match args.costs {
        CostsArg::Reference => "reference costs: the same file on every machine",
        CostsArg::Here => "costs measured on this machine",
    };
    anstream::eprintln!(
        "kernels fill {least:.2} % to {most:.2} % of the execution time, mean {mean:.2} % ({costs})"
    );
    let off = shares
        .iter()
        .filter(|share| (**share - 1.0).abs() > TOLERANCE)
        .count();
    if off > 0 {
        let cheapest = cost
            .rounds()
            .iter()
            .map(|round| round.cycles)
            .fold(f64::MAX, f64::min);
        let sentence = format!(
            "{off} tasks are off by more than {:.0} %: they take fewer cycles than a few rounds of the cheapest kernel \
             ({cheapest:.0} cycles each); more --mhz or longer periods make them larger",
            100.0 * TOLERANCE
        );
        anstream::eprintln!("{}", paint(WARN, sentence));
    }
}

/// Execution times on a logarithmic scale.
fn histogram(rows: &[TaskRow]) {
    let bar_of = |seconds: f64| (seconds.log10() * BARS_PER_DECADE).floor() as i32;
    let bars: Vec<i32> = executions(rows).into_iter().map(bar_of).collect();
    let (Some(&first), Some(&last)) = (bars.iter().min(), bars.iter().max()) else {
        return;
    };
    let counts: Vec<usize> = (first..=last)
        .map(|bar| bars.iter().filter(|&&b| b == bar).count())
        .collect();
    let highest = counts.iter().max().copied().unwrap_or(1).max(1);
    anstream::eprintln!("{}", paint(BOLD, "EXECUTION TIME"));
    for (bar, count) in (first..=last).zip(counts) {
        let from = ui::seconds(10f64.powf(f64::from(bar) / BARS_PER_DECADE));
        // Rounded up: what is there is seen.
        let length = (count * BAR).div_ceil(highest);
        let line = format!("{from:>10} {:BAR$} {count}", "█".repeat(length));
        anstream::eprintln!("{line}");
    }
}
