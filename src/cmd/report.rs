//! `hwmeter report`: a page, figures and numbers from the folders of runs.

use crate::cli::ReportArgs;
use crate::ui::{self, paint, table, with_uncertainty};
use anyhow::{Context, bail};
use hwmeter::report::tensorboard::EventWriter;
use hwmeter::report::{Figure, GroupNumbers, Manifest, Report, Run, page, runs_of};
use hwmeter::run_dir::{RunDir, replace};
use hwmeter_hw::sensor::Kind;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Reads all, then writes: a bad row in the last run leaves no half of a report behind.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let folders = runs_of(&args.runs)?;
    let place = Place::of(args);
    if let Some(place) = &place {
        place.check_is_free(args.force)?;
    }
    let events = args
        .tensorboard
        .as_deref()
        .map(|dir| Events::below(dir, &folders, args.force));
    let runs = folders.iter().map(|folder| read(folder, events.as_ref()));
    let report = Report::of(runs)?;
    let (figures, left_out) = report.figures()?;
    if let Some(place) = &place {
        place.write(&report, &figures, &left_out)?;
    }
    if args.json {
        let document = json!({ "groups": report.numbers(), "notes": report.notes, "left_out": left_out });
        ui::outln!("{document:#}");
        return Ok(());
    }
    if args.text || place.is_none() {
        print_text(&report.numbers());
    }
    for note in report.notes.iter().chain(&left_out) {
        ui::outln!("{note}");
    }
    if let Some(place) = &place {
        let (page, figures_dir) = (place.page.display(), place.figures().display().to_string());
        ui::outln!(
            "{page}: {} runs, {} figures; the figures alone: {figures_dir}",
            report.runs(),
            figures.len()
        );
    }
    if let Some(dir) = &args.tensorboard {
        ui::outln!("event files: tensorboard --logdir {}", dir.display());
    }
    Ok(())
}

/// Reads a run; its event file is written on the way.
fn read(folder: &Path, events: Option<&Events<'_>>) -> hwmeter::report::Result<Run> {
    let Some(events) = events else {
        return Run::read(folder);
    };
    let manifest = Manifest::read(&RunDir::open(folder).manifest())?;
    let began = manifest
        .as_ref()
        .and_then(|manifest| manifest.clock.t_s_zero_unix_s);
    let below = events.folder_of(folder);
    let io = |source| hwmeter::report::ReportError::Io {
        path: below.clone(),
        source,
    };
    let mut writer = EventWriter::create(&below, began.unwrap_or(0.0), events.force).map_err(io)?;
    let run = Run::read_rows(folder, manifest, &mut writer)?;
    writer.finish().map_err(io)?;
    Ok(run)
}

/// Where event files go: each run has a folder with a name of its own.
struct Events<'a> {
    dir: &'a Path,
    /// What all runs have in common, which their names leave out.
    common: PathBuf,
    force: bool,
}

impl<'a> Events<'a> {
    fn below(dir: &'a Path, folders: &[PathBuf], force: bool) -> Self {
        let parents = folders
            .iter()
            .map(|folder| folder.parent().unwrap_or(Path::new("")).to_owned());
        let common = parents
            .reduce(|common, parent| shared(&common, &parent))
            .unwrap_or_default();
        Self { dir, common, force }
    }

    fn folder_of(&self, run: &Path) -> PathBuf {
        let below = run.strip_prefix(&self.common).unwrap_or(run);
        let named = below
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)));
        self.dir.join(named.collect::<PathBuf>())
    }
}

/// The beginning that two paths share.
fn shared(a: &Path, b: &Path) -> PathBuf {
    let both = a.components().zip(b.components());
    both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// Where the page and its figures go.
struct Place {
    page: PathBuf,
}

impl Place {
    /// `None` where only something is printed.
    fn of(args: &ReportArgs) -> Option<Self> {
        const NAME: &str = "report.html";
        let page = match (&args.out, args.runs.as_slice()) {
            (None, _) if args.text || args.json => return None,
            (Some(out), _) if is_page(out) => out.clone(),
            (Some(out), _) => out.join(NAME),
            (None, [only]) => only.join(NAME),
            (None, several) => several.first()?.parent()?.join(NAME),
        };
        Some(Self { page })
    }

    /// The folder of the figures.
    fn figures(&self) -> PathBuf {
        self.page.with_extension("")
    }

    fn check_is_free(&self, force: bool) -> anyhow::Result<()> {
        let taken = [self.page.clone(), self.figures()]
            .into_iter()
            .find(|path| path.exists());
        match taken {
            Some(path) if !force => bail!(
                "{} is there already: choose another --out, or --force to replace it",
                path.display()
            ),
            _ => Ok(()),
        }
    }

    fn write(&self, report: &Report, figures: &[Figure], left_out: &[String]) -> anyhow::Result<()> {
        let dir = self.figures();
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for figure in figures {
            let path = dir.join(format!("{}.svg", figure.id));
            replace(&path, figure.standalone_svg().as_bytes())?;
        }
        let made = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
        replace(
            &self.page,
            page::page(report, figures, left_out, &made).as_bytes(),
        )
    }
}

fn is_page(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "html" || ending == "htm")
}

/// One row per group.
fn print_text(groups: &[GroupNumbers]) {
    let mut rows = table(&[
        "RUNS",
        "N",
        "TASKS",
        "REWARD (95 %)",
        "IN TIME",
        "LOCAL",
        "MEC",
        "CLOUD",
        "J PER TASK (k=2)",
        "KIND",
        "LATENCY",
        "UPDATE",
    ]);
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let median = |s: Option<f64>| s.map_or("-".to_owned(), ui::seconds);
    for group in groups {
        let reward = group
            .reward
            .as_ref()
            .map_or("unknown".to_owned(), |mean| match mean.half_width {
                Some(half) => format!("{:.3} J ± {half:.3} J", mean.mean),
                None => format!("{:.3} J", mean.mean),
            });
        let energy = match (&group.energy_j, group.energy_u_j) {
            (Some(mean), Some(u)) => with_uncertainty(mean.mean, u, "J"),
            (Some(mean), None) => format!("{:.3} J", mean.mean),
            _ => "unknown".to_owned(),
        };
        let updates: Vec<String> = group
            .updates
            .iter()
            .map(|update| format!("{} {}", update.site, median(update.time_s.p50)))
            .collect();
        rows.add_row([
            group.label.clone(),
            group.runs.len().to_string(),
            group.tasks.to_string(),
            reward,
            group
                .miss_rate
                .as_ref()
                .map_or("-".to_owned(), |misses| percent(1.0 - misses.mean)),
            percent(group.placements.local),
            percent(group.placements.mec),
            percent(group.placements.cloud),
            energy,
            group.kind.clone(),
            median(group.latency_s.p50),
            if updates.is_empty() {
                "-".to_owned()
            } else {
                updates.join(", ")
            },
        ]);
    }
    ui::outln!(
        "{}",
        paint(
            ui::BOLD,
            "Medians of latency and update; reward and joules are means per task"
        )
    );
    ui::outln!("{}", rows.trim_fmt());
    let sources: BTreeSet<(&str, &str)> = groups
        .iter()
        .map(|group| (group.kind.as_str(), group.sensor.as_str()))
        .collect();
    for (kind, sensor) in sources {
        let kind = serde_json::from_value::<Kind>(json!(kind)).ok();
        if let Some(sentence) = kind.and_then(|kind| ui::kind_sentence(kind, sensor)) {
            ui::outln!("{sentence}");
        }
    }
}
