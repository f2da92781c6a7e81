//! The table: one thread, all threads and GPU, in single and double precision, as in Table III of the paper, with the
//! paper's own figures for the same board beside it.

use super::found::op;
use super::paper::Paper;
use crate::ui::{self, BOLD, paint, table};
use hwmeter_hw::blas::bench::Precision;
use hwmeter_hw::calibration::GemmRow;

/// Where products run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    OneThread,
    AllThreads,
    Gpu,
}

const COLUMNS: [(Precision, Column); 6] = [
    (Precision::Sgemm, Column::OneThread),
    (Precision::Sgemm, Column::AllThreads),
    (Precision::Sgemm, Column::Gpu),
    (Precision::Dgemm, Column::OneThread),
    (Precision::Dgemm, Column::AllThreads),
    (Precision::Dgemm, Column::Gpu),
];

/// Prints it. Nothing without rows.
pub fn print(rows: &[GemmRow], paper: Option<&Paper>) {
    if rows.is_empty() {
        return;
    }
    let all = rows.iter().filter_map(|row| row.threads).max().unwrap_or(1);
    let best = COLUMNS.map(|column| best(rows, all, column));
    let header = header(all);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut lines = table(&header);
    lines.add_row(line("GFLOPS", |i| Some(format!("{:.2}", best[i]?.gflops))));
    lines.add_row(line("  by", |i| Some(by(best[i]?))));
    if let Some(paper) = paper {
        let of_paper = |i: usize| {
            let (precision, column) = COLUMNS[i];
            paper.gflops(precision)[column as usize]
        };
        let title = format!("  paper, {}", paper.device);
        lines.add_row(line(&title, |i| Some(format!("{:.2}", of_paper(i)?))));
        let ratio = |i: usize| Some(format!("{:.2} x", best[i]?.gflops / of_paper(i)?));
        lines.add_row(line("  to the paper", ratio));
    }
    lines.add_row(line("of peak", |i| {
        Some(format!("{:.0} %", 100.0 * best[i]?.peak_share?))
    }));
    lines.add_row(line("GFLOPS/W (k=2)", |i| per_watt(best[i]?)));
    lines.add_row(line("  watts are", |i| Some(best[i]?.kind?.to_string())));
    ui::outln!("{}", paint(BOLD, "Matrix products"));
    ui::outln!("{}", lines.trim_fmt());
}

fn header(all: u32) -> Vec<String> {
    let of = |(precision, column): &(Precision, Column)| match column {
        Column::OneThread => format!("{precision} 1 THREAD"),
        Column::AllThreads if all > 1 => format!("{all} THREADS"),
        Column::AllThreads => String::new(),
        Column::Gpu => "GPU".to_owned(),
    };
    std::iter::once(String::new())
        .chain(COLUMNS.iter().map(of))
        .collect()
}

fn line(title: &str, cell: impl Fn(usize) -> Option<String>) -> Vec<String> {
    let cells = (0..COLUMNS.len()).map(|i| cell(i).unwrap_or_default());
    std::iter::once(title.to_owned()).chain(cells).collect()
}

/// The fastest engine and size there; one on a cluster of its own is in the list of rows alone.
fn best(rows: &[GemmRow], all: u32, (precision, column): (Precision, Column)) -> Option<&GemmRow> {
    let is_there = |row: &&GemmRow| {
        let place = match row.threads {
            None => Column::Gpu,
            Some(1) => Column::OneThread,
            Some(threads) if threads == all => Column::AllThreads,
            Some(_) => return false,
        };
        row.cluster.is_none() && row.op == op(precision) && place == column
    };
    rows.iter()
        .filter(is_there)
        .max_by(|a, b| a.gflops.total_cmp(&b.gflops))
}

fn by(row: &GemmRow) -> String {
    let mark = row.note.as_ref().map_or("", |_| " *");
    format!("{}, n {}{mark}", row.provider, row.n)
}

/// GFLOPS per watt with twice its standard uncertainty.
pub fn per_watt(row: &GemmRow) -> Option<String> {
    let (value, uncertainty) = (row.gflops_per_watt?, row.gflops_per_watt_uncertainty);
    Some(match uncertainty {
        Some(u) => {
            let digits = ui::decimals(2.0 * u).min(3);
            format!("{value:.digits$} ± {:.digits$}", 2.0 * u)
        }
        None => format!("{value:.2}"),
    })
}

/// Every row.
pub fn print_rows(rows: &[GemmRow]) {
    if rows.is_empty() {
        return;
    }
    let mut lines = table(&[
        "ENGINE",
        "PRODUCT",
        "WHERE",
        "N",
        "GFLOPS",
        "MEDIAN",
        "SPREAD",
        "OF PEAK",
        "POWER",
        "GFLOPS/W (k=2)",
        "KIND",
    ]);
    for row in rows {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        lines.add_row([
            row.provider.clone(),
            row.op.to_uppercase(),
            place(row),
            row.n.to_string(),
            format!("{:.2}{}", row.gflops, row.note.as_ref().map_or("", |_| " *")),
            row.gflops_median
                .map_or_else(String::new, |median| format!("{median:.2}")),
            row.gflops_spread.map_or_else(String::new, percent),
            row.peak_share.map_or_else(String::new, percent),
            row.watts
                .map_or_else(String::new, |watts| format!("{watts:.2} W")),
            per_watt(row).unwrap_or_default(),
            row.kind.map_or_else(String::new, |kind| kind.to_string()),
        ]);
    }
    ui::outln!("{}", lines.trim_fmt());
    for row in rows.iter().filter(|row| row.note.is_some()) {
        let note = row.note.as_deref().unwrap_or_default();
        ui::outln!(
            "{} {} {} {}, n {}: {note}",
            paint(ui::WARN, "*"),
            row.provider,
            row.op.to_uppercase(),
            place(row),
            row.n
        );
    }
}

/// `1 thread`, `4 threads`, `4 threads, big`, `GPU`.
pub fn place(row: &GemmRow) -> String {
    let threads = match row.threads {
        None => return "GPU".to_owned(),
        Some(1) => "1 thread".to_owned(),
        Some(threads) => format!("{threads} threads"),
    };
    match &row.cluster {
        Some(cluster) => format!("{threads}, {cluster}"),
        None => threads,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(op: &str, threads: Option<u32>, gflops: f64) -> GemmRow {
        GemmRow {
            provider: "openblas".into(),
            op: op.into(),
            threads,
            cluster: None,
            n: 512,
            gflops,
            gflops_median: None,
            gflops_spread: None,
            peak_share: None,
            watts: None,
            watts_uncertainty: None,
            gflops_per_watt: None,
            gflops_per_watt_uncertainty: None,
            kind: None,
            note: None,
        }
    }

    #[test]
    fn each_column_has_the_fastest_of_its_place() {
        let mut pinned = row("sgemm", Some(2), 99.0);
        pinned.cluster = Some("big".into());
        let rows = [
            row("sgemm", Some(1), 8.0),
            row("sgemm", Some(1), 9.0),
            row("sgemm", Some(4), 30.0),
            pinned,
            row("dgemm", None, 6.0),
        ];
        let found = COLUMNS.map(|column| best(&rows, 4, column).map(|row| row.gflops));
        assert_eq!(found, [Some(9.0), Some(30.0), None, None, None, Some(6.0)]);
    }

    #[test]
    fn per_watt_has_no_more_digits_than_it_deserves() {
        let mut row = row("sgemm", Some(1), 8.0);
        assert_eq!(per_watt(&row), None);
        (row.gflops_per_watt, row.gflops_per_watt_uncertainty) = (Some(2.1234), Some(0.05));
        assert_eq!(per_watt(&row).unwrap(), "2.12 ± 0.10");
    }
}
