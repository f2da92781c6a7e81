//! Settings of learners from a TOML file and from `key=value` on the command line.
//!
//! ```toml
//! [dqn]
//! hidden = [64, 64]
//! rate = 1e-3
//! ```
//!
//! What is not given keeps its default; on the command line the same is `dqn.rate=1e-3`, and it wins over the file.
//! A key that does not exist is an error that names its line.

use super::Settings;
use anyhow::{Context, anyhow};
use std::path::Path;
use toml::{Table, Value};

/// The defaults, changed by the file, if one is given, and then by each of `sets` (`LEARNER.KEY=VALUE`).
pub fn read(file: Option<&Path>, sets: &[String]) -> anyhow::Result<Settings> {
    read_over(&Settings::default(), file, sets)
}

/// The same over other settings than the defaults. All of them are in range, whichever learner is used.
pub fn read_over(base: &Settings, file: Option<&Path>, sets: &[String]) -> anyhow::Result<Settings> {
    let mut table = Table::try_from(base)?;
    let given = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the learner settings {}", path.display()))?;
            let what = || format!("bad learner settings in {}", path.display());
            parse(&text).with_context(what)?
        }
        None => Table::new(),
    };
    merge(&mut table, given);
    for set in sets {
        let one = parse(&quoted(set)).map_err(|error| {
            let reason = error.message().trim().to_owned();
            anyhow!(
                "bad --set {set}: {reason}; write LEARNER.KEY=VALUE with a key that `hwmeter learners` lists"
            )
        })?;
        merge(&mut table, one);
    }
    let settings: Settings = table.try_into()?;
    settings.check()?;
    Ok(settings)
}

/// `KEY=VALUE` as TOML: a word that is no value is a string that lacks its quotes, as a shell leaves it (JSON quotes as
/// TOML does). Numbers and lists that are no values stay as they are, to be told as what they are.
fn quoted(set: &str) -> String {
    match set.split_once('=') {
        Some((key, value)) if is_word(value) && toml::from_str::<Table>(set).is_err() => {
            format!("{key}={}", serde_json::Value::from(value.trim()))
        }
        _ => set.to_owned(),
    }
}

fn is_word(value: &str) -> bool {
    value.trim().starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The text as a table, which is right as settings too; only the text knows about lines.
fn parse(text: &str) -> Result<Table, toml::de::Error> {
    toml::from_str::<Settings>(text)?;
    toml::from_str(text)
}

/// Puts the values of `more` over those of `table`, section by section.
fn merge(table: &mut Table, more: Table) {
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::optimiser::OptimiserName;
    use super::*;

    fn from(text: &str, sets: &[&str]) -> anyhow::Result<Settings> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("my.toml");
        std::fs::write(&file, text).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        read(Some(&file), &sets)
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
        let text = "[dqn]\nrate = 0.5\ngamma = 0.25\n[stream-q]\nhidden = [8]\n";
        let settings = from(
            text,
            &["dqn.rate=0.75", "d-linucb.width = 2.0", "dqn.hidden=[4,4]"],
        )
        .unwrap();
        assert_eq!((settings.dqn.rate, settings.dqn.gamma), (0.75, 0.25));
        assert_eq!(
            (settings.dqn.hidden, settings.stream_q.hidden),
            (vec![4, 4], vec![8])
        );
        assert_eq!(settings.d_linucb.width, 2.0);
        assert_eq!(settings.ac, Default::default());
        let settings = read(None, &["ac.optimiser=sgd".to_owned()]).unwrap();
        assert_eq!(settings.ac.optimiser, OptimiserName::Sgd);
        assert_eq!(read(None, &[]).unwrap(), Settings::default());
    }

    #[test]
    fn a_number_that_is_too_large_is_told_as_a_number() {
        for set in [
            "dqn.hidden=[18446744073709551615]",
            "dqn.replay=18446744073709551616",
        ] {
            let error = format!("{:#}", from("", &[set]).unwrap_err());
            assert!(error.contains(set) && !error.contains("string"), "{error}");
        }
    }

    /// Also those of learners that are not used.
    #[test]
    fn values_out_of_range_are_told_by_name_for_every_learner() {
        for (set, words) in [
            ("ac.actor_rate=0", "ac: actor_rate is 0"),
            ("dqn.gamma=0.99999999", "dqn: gamma is 0.99999999"),
            ("stream-q.kappa=-1", "stream-q: kappa is -1"),
            ("stream-ac.gamma=0.999999999", "stream-ac: gamma is 0.999999999"),
            ("linucb.ridge=1e-160", "linucb: ridge is 1e-160"),
            ("d-linucb.discount=1.5", "d-linucb: discount is 1.5"),
            ("greedy.epsilon=2", "greedy: epsilon is 2"),
        ] {
            let error = format!("{:#}", from("", &[set]).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
        assert!(from("", &["dqn.gamma=0.9999999"]).is_ok());
    }

    #[test]
    fn the_published_settings_are_a_base_that_the_others_win_over() {
        let sets = ["ac.gamma=0.5".to_owned()];
        let settings = read_over(&Settings::published(), None, &sets).unwrap();
        assert_eq!((settings.ac.actor_rate, settings.ac.gamma), (1e-5, 0.5));
        assert_eq!(settings.dqn, Settings::default().dqn);
    }

    #[test]
    fn typing_errors_are_told_with_their_line() {
        for (text, line, word) in [
            ("[dqn]\nrate = 1.0\nepsilon = 0.1\n", "line 3", "epsilon"),
            ("[dnq]\n", "line 1", "dnq"),
            ("[dqn]\nrate = \"fast\"\n", "line 2", "f64"),
            ("[dqn\n", "line 1", "TOML"),
        ] {
            let error = format!("{:#}", from(text, &[]).unwrap_err());
            assert!(
                error.contains(line) && error.contains(word) && error.contains("my.toml"),
                "{error}"
            );
        }
        for set in [
            "dqn.rat=1",
            "rate=1",
            "dqn.rate",
            "dqn.rate=x",
            "dqn.optimiser=\"",
            "ac.optimiser=momentum",
        ] {
            let error = format!("{:#}", from("", &[set]).unwrap_err());
            assert!(
                error.contains(set) && error.contains("hwmeter learners"),
                "{error}"
            );
        }
        assert!(
            read(Some(Path::new("/no/such.toml")), &[])
                .unwrap_err()
                .to_string()
                .contains("/no/such.toml")
        );
    }
}
