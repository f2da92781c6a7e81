//! What to time on a machine: each size in both precisions, on one thread, on all, on each cluster, on the GPU.

use super::bench::Precision;
use super::sizes::{Bounds, Size, sizes};
use super::{Gemm, all_threads};
use crate::caches::Caches;
use crate::clusters::{Cluster, clusters};
use crate::root::Root;
use serde::{Deserialize, Serialize};

/// Where the products run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On one thread, wherever the scheduler puts it.
    OneThread,
    /// On as many threads as this process may use CPUs.
    AllThreads,
    /// On all CPUs of a cluster, pinned.
    Cluster(Cluster),
    /// On the GPU.
    Gpu,
}

/// What to time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Single or double precision.
    pub precision: Precision,
    /// The matrices, and where they lie.
    pub size: Size,
    /// Where the products run.
    pub place: Place,
}

impl Case {
    /// Threads to ask the engine for; a GPU does not look at it.
    pub fn threads(&self) -> usize {
        match &self.place {
            Place::OneThread | Place::Gpu => 1,
            Place::AllThreads => all_threads(),
            Place::Cluster(cluster) => cluster.cpus.len(),
        }
    }
}

/// What the cases are made for.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The clusters, the fastest first.
    pub clusters: Vec<Cluster>,
    /// The caches of the slowest core.
    pub caches: Caches,
    /// What sizes are held to.
    pub bounds: Bounds,
}

impl Machine {
    /// The machine below `root`; `bounds` are the caller's.
    pub fn read(root: &Root, bounds: Bounds) -> Self {
        let mut machine = Self {
            clusters: clusters(root),
            caches: Caches::read(root, &[]),
            bounds,
        };
        machine.caches = Caches::read(root, &machine.cpus());
        machine
    }

    /// All CPUs, those of the fastest cluster first.
    pub fn cpus(&self) -> Vec<usize> {
        let cpus = self.clusters.iter().flat_map(|cluster| cluster.cpus.clone());
        cpus.collect()
    }
}

/// Every case for an engine, and why a size that fits no cache is left out where it is.
///
/// Both precisions, each size on one thread, on all, and on each cluster where there are several. A GPU gets the two
/// largest sizes: small ones only time how fast it is asked.
pub fn plan(gemm: &dyn Gemm, machine: &Machine) -> (Vec<Case>, Vec<String>) {
    let (mut cases, mut notes) = (Vec::new(), Vec::new());
    for precision in [Precision::Sgemm, Precision::Dgemm] {
        let found = sizes(&machine.caches, precision, machine.bounds);
        notes.extend(found.note.map(|note| format!("{precision}: {note}")));
        let is_gpu = gemm.provider().is_gpu();
        let first = if is_gpu {
            found.sizes.len().saturating_sub(2)
        } else {
            0
        };
        for &size in &found.sizes[first..] {
            for place in places(gemm, machine) {
                cases.push(Case {
                    precision,
                    size,
                    place,
                });
            }
        }
    }
    (cases, notes)
}

fn places(gemm: &dyn Gemm, machine: &Machine) -> Vec<Place> {
    if gemm.provider().is_gpu() {
        return vec![Place::Gpu];
    }
    let mut places = vec![Place::OneThread];
    if all_threads().min(gemm.max_threads()) > 1 {
        places.push(Place::AllThreads);
    }
    if machine.clusters.len() > 1 {
        let fitting = machine
            .clusters
            .iter()
            .filter(|cluster| cluster.cpus.len() <= gemm.max_threads());
        places.extend(fitting.cloned().map(Place::Cluster));
    }
    places
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests;
