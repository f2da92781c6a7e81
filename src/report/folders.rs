//! Which folders are runs: those named, or those below them.

use super::error::{ReportError, Result};
use std::path::{Path, PathBuf};

/// Deeper below a named folder no run is looked for.
const DEEPEST: usize = 4;

/// The folders of runs that `paths` stand for, each once: a folder with `decisions.csv` is one, any other stands for
/// those below it, in the order of their names.
pub fn runs_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut runs: Vec<PathBuf> = Vec::new();
    for path in paths {
        let mut found = Vec::new();
        collect(path, DEEPEST, &mut found)?;
        if found.is_empty() {
            return Err(ReportError::NoRun(path.clone()));
        }
        found.retain(|run| !runs.contains(run));
        runs.extend(found);
    }
    Ok(runs)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join("decisions.csv").exists() {
        found.push(folder.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|e| ReportError::io(folder, e))?;
    let mut below = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| ReportError::io(folder, e))?.path();
        if path.is_dir() && depth > 0 {
            below.push(path);
        }
    }
    below.sort();
    below.iter().try_for_each(|path| collect(path, depth - 1, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_runs_stands_for_all_of_them_once() {
        let root = tempfile::tempdir().unwrap();
        for run in ["b", "a", "sweep/0", "sweep/1"] {
            std::fs::create_dir_all(root.path().join(run)).unwrap();
            std::fs::write(root.path().join(run).join("decisions.csv"), "").unwrap();
        }
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let runs = runs_of(&[root.path().join("b"), root.path().to_owned()]).unwrap();
        let names: Vec<_> = runs
            .iter()
            .map(|run| run.strip_prefix(root.path()).unwrap())
            .collect();
        assert_eq!(names, ["b", "a", "sweep/0", "sweep/1"].map(Path::new));
        let error = runs_of(&[root.path().join("empty")]).unwrap_err().to_string();
        assert!(error.contains("empty holds no run"), "{error}");
        let error = runs_of(&[root.path().join("none")]).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
