//! One HTML file that holds everything: it opens from a disk without a network, in light and in dark, and prints.

use super::Report;
use super::figure::{Figure, Table};
use super::numbers::GroupNumbers;
use super::palette::style_sheet;
use super::stats::Mean;
use super::words::{in_unit, site, small_percent, with_uncertainty};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Nothing may be loaded from anywhere: the page holds all it needs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The page. `figures` are those of the report, `left_out` says which could not be drawn, `made` when it was made.
pub fn page(report: &Report, figures: &[Figure], left_out: &[String], made: &str) -> String {
    let numbers = report.numbers();
    let title = title(&numbers, report.runs());
    let body = html! {
        (summary(&numbers))
        (side_by_side(&numbers))
        (notes(&report.notes))
        @for figure in figures { (drawn(figure)) }
        (left_out_section(left_out))
        (words())
        (runs(&numbers))
    };
    document(&title, made, &body)
}

/// A page of its own that loads nothing: `made` says when it was made, `body` is what it shows below its title.
pub fn document(title: &str, made: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) (PreEscaped(style_sheet())) }
            }
            body {
                main {
                    h1 { (title) }
                    p.made { "hwmeter " (env!("CARGO_PKG_VERSION")) ", " (made) }
                    (body)
                }
            }
        }
    }
    .into_string()
}

fn title(numbers: &[GroupNumbers], runs: usize) -> String {
    let mut learners: Vec<&str> = Vec::new();
    for learner in numbers.iter().filter_map(|group| group.learner.as_deref()) {
        if !learners.contains(&learner) {
            learners.push(learner);
        }
    }
    let of = if runs == 1 {
        "1 run".to_owned()
    } else {
        format!("{runs} runs")
    };
    match learners.as_slice() {
        [] => format!("Offloading report: {of}"),
        few @ [_] | few @ [_, _] | few @ [_, _, _] => {
            format!("Offloading report: {of} of {}", few.join(", "))
        }
        many => format!("Offloading report: {of} of {} learners", many.len()),
    }
}

/// What somebody who reads nothing else should know: a sentence or two for each group.
fn summary(numbers: &[GroupNumbers]) -> Markup {
    /// Beyond these the table says it shorter.
    const MOST: usize = 6;
    html! {
        p {
            "A device had to decide, task by task, whether to compute on its own processor, on a server at the edge of the network \
             (MEC) or in the cloud; a learner decided, and learned from the joules each decision cost."
        }
        ul.summary {
            @for group in numbers.iter().take(MOST) { li { (sentences(group)) } }
        }
    }
}

fn sentences(group: &GroupNumbers) -> Markup {
    let share = |part: f64| format!("{:.0} %", 100.0 * part);
    let places = &group.placements;
    html! {
        b { (group.label) } ": "
        @if group.tasks == 0 { "no task has ended." } @else {
            (group.tasks) @if group.tasks == 1 { " task" } @else { " tasks" }
            @if group.runs.len() > 1 { " in " (group.runs.len()) " runs" }
            @if let Some(board) = &group.board { " on " (board) }
            "; "
            @if let Some(misses) = &group.miss_rate { (share(1.0 - misses.mean)) " met their deadline. " }
            "Of the tasks " (share(places.local)) " ran on the device, " (share(places.mec)) " on the MEC and "
            (share(places.cloud)) " in the cloud. "
            (joules_sentence(group))
            (update_sentence(group))
        }
    }
}

fn joules_sentence(group: &GroupNumbers) -> Markup {
    let Some(energy) = &group.energy_j else {
        return html! { "What they cost in joules is not known. " };
    };
    html! {
        "A task cost the device " (with_uncertainty(energy.mean, group.energy_u_j, "J")) ", "
        @match group.kind.as_str() {
            "measured" => { "measured by " (group.sensor) ". " },
            kind => { span.kind { (kind) } " by " (group.sensor) ", not measured. " },
        }
    }
}

fn update_sentence(group: &GroupNumbers) -> Markup {
    html! {
        @for update in &group.updates {
            @if let Some(median) = update.time_s.p50 {
                "Learning from a task took " (in_unit(median, "s"))
                " " (site(&update.site))
                @if let (Some(joules), Some(energy)) = (update.energy_j, &group.energy_j) {
                    ", and " (small_percent(joules / energy.mean.abs().max(f64::MIN_POSITIVE)))
                    " of a task's joules"
                }
                ". "
            }
        }
    }
}

/// The groups in one table.
fn side_by_side(numbers: &[GroupNumbers]) -> Markup {
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    html! {
        h2 { "Side by side" }
        div.scroll tabindex="0" role="region" aria-label="Side by side" {
            table {
                thead { tr {
                    @for name in ["runs", "number", "tasks", "reward, J", "in time", "local", "MEC", "cloud", "J per task (k=2)", "kind",
                        "median latency", "median update"] {
                        th scope="col" { (name) }
                    }
                } }
                tbody {
                    @for group in numbers {
                        tr {
                            th scope="row" { (group.label) }
                            td { (group.runs.len()) }
                            td { (group.tasks) }
                            td { (group.reward.as_ref().map(mean_words).unwrap_or_default()) }
                            td { (group.miss_rate.as_ref().map(|m| percent(1.0 - m.mean)).unwrap_or_default()) }
                            td { (percent(group.placements.local)) }
                            td { (percent(group.placements.mec)) }
                            td { (percent(group.placements.cloud)) }
                            td { (group.energy_j.as_ref().map(|m| with_uncertainty(m.mean, group.energy_u_j, "J")).unwrap_or_default()) }
                            td { (group.kind) }
                            td { (group.latency_s.p50.map(|s| in_unit(s, "s")).unwrap_or_default()) }
                            td {
                                @for update in &group.updates {
                                    (update.site) " " (update.time_s.p50.map(|s| in_unit(s, "s")).unwrap_or_default()) " "
                                }
                            }
                        }
                    }
                }
            }
        }
        p.made { "Reward: mean over runs, with its 95 % interval where there are several. Joules: with the sensor's uncertainty (k=2)." }
    }
}

/// What must be known before numbers are used; nothing where there is nothing to say.
pub fn notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            aside.notes aria-label="Before you use these numbers" {
                b { "Before you use these numbers" }
                ul { @for note in notes { li { (note) } } }
            }
        }
    }
}

/// A figure with its caption and the numbers behind it.
pub fn drawn(figure: &Figure) -> Markup {
    html! {
        figure id=(figure.id) {
            (PreEscaped(figure.inline_svg()))
            figcaption { (figure.caption) }
            details {
                summary { "The numbers behind it (" (figure.table.rows.len()) " rows)" }
                a.csv download=(format!("{}.csv", figure.id)) href=(data_url(&figure.table)) { "as CSV" }
                (table(&figure.table, &figure.title))
            }
        }
    }
}

/// A table with named columns and rows; `name` is what it is called where it cannot be seen.
pub fn table(table: &Table, name: &str) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("Table: {name}")) {
            table {
                thead { tr { @for cell in &table.header { th scope="col" { (cell) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } }
                                @else if cell.parse::<f64>().is_ok() || cell.is_empty() { td { (cell) } }
                                @else { td.words { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn data_url(table: &Table) -> String {
    let csv = table.csv();
    format!(
        "data:text/csv;charset=utf-8,{}",
        utf8_percent_encode(&csv, NON_ALPHANUMERIC)
    )
}

fn left_out_section(left_out: &[String]) -> Markup {
    html! {
        @if !left_out.is_empty() {
            h2 { "Left out" }
            ul { @for sentence in left_out { li { (sentence) } } }
        }
    }
}

/// What the words on a page mean.
pub fn words() -> Markup {
    html! {
        h2 { "Words" }
        dl {
            dt { "measured, modelled, simulated" }
            dd { "from a physical power sensor; computed from load, or a share of a measured total; from the virtual testbed" }
            dt { "uncertainty (k=2)" }
            dd { "twice the standard uncertainty: the true joules lie in the interval in about 95 of 100 cases" }
            dt { "coverage" }
            dd { "share of a task's time that is backed by samples of the sensor" }
            dt { "reward" }
            dd { "minus the device's joules if the task met its deadline, else minus a penalty" }
            dt { "update" }
            dd { "one step of learning, after a task" }
        }
    }
}

fn runs(numbers: &[GroupNumbers]) -> Markup {
    html! {
        h2 { "Runs" }
        details {
            summary { "Folders and seeds" }
            div.scroll tabindex="0" role="region" aria-label="Runs" {
                table {
                    thead { tr { @for name in ["folder", "runs", "seed", "tasks", "reward, J", "in time"] { th scope="col" { (name) } } } }
                    tbody {
                        @for group in numbers { @for run in &group.runs {
                            tr {
                                th scope="row" { (run.path.display()) }
                                td.words { (group.label) }
                                td { (run.seed.map(|seed| seed.to_string()).unwrap_or_default()) }
                                td { (run.tasks) }
                                td { (run.reward.map(|x| format!("{x:.3}")).unwrap_or_default()) }
                                td { (run.miss_rate.map(|x| format!("{:.1} %", 100.0 * (1.0 - x))).unwrap_or_default()) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// `-2.10 ± 0.12`, or without an interval where none is known.
fn mean_words(mean: &Mean) -> String {
    match mean.half_width {
        Some(half) => format!("{:.3} ± {half:.3}", mean.mean),
        None => format!("{:.3}", mean.mean),
    }
}
