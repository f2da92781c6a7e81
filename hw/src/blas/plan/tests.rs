//! Plans for made-up machines.

use super::*;
use crate::blas::builtin::Builtin;
use crate::blas::{Provider, check_lengths};
use crate::error::Result;
use crate::fake_tree::tree;

/// Says it is a GPU, or has no threads; never multiplies.
pub(in crate::blas) struct Fake(pub Provider, pub usize);

impl Gemm for Fake {
    fn provider(&self) -> Provider {
        self.0
    }
    fn name(&self) -> String {
        "fake".to_owned()
    }
    fn max_threads(&self) -> usize {
        self.1
    }
    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32], _: usize) -> Result<()> {
        check_lengths(n, [a.len(), b.len(), c.len()])
    }
    fn dgemm(&self, n: usize, a: &[f64], b: &[f64], c: &mut [f64], _: usize) -> Result<()> {
        check_lengths(n, [a.len(), b.len(), c.len()])
    }
}

pub(in crate::blas) fn machine(clusters: &[(&str, &[usize])]) -> Machine {
    Machine {
        clusters: clusters
            .iter()
            .map(|(name, cpus)| Cluster {
                name: (*name).to_owned(),
                cpus: cpus.to_vec(),
            })
            .collect(),
        caches: Caches {
            levels: [(1, 32 << 10), (2, 256 << 10)].into(),
            are_assumed: false,
        },
        bounds: Bounds {
            memory_bytes: 1 << 30,
            operations: 1e12,
        },
    }
}

fn told(cases: &[Case]) -> Vec<String> {
    let one = |case: &Case| format!("{} {} {:?}", case.precision, case.size.fit, case.place);
    cases.iter().map(one).collect()
}

#[test]
fn a_plan_has_every_size_and_place() {
    let (cases, notes) = plan(&Builtin::new(), &machine(&[("all", &[0, 1])]));
    let places = if all_threads() > 1 { 2 } else { 1 };
    assert_eq!(cases.len(), 2 * 3 * places);
    assert!(notes.is_empty());
    assert_eq!(told(&cases)[0], "SGEMM L1 OneThread");
}

#[test]
fn clusters_get_cases_where_there_are_several() {
    let machine = machine(&[("big", &[2]), ("little", &[0, 1])]);
    let (cases, _) = plan(&Fake(Provider::Blis, 1), &machine);
    let places: Vec<&Place> = cases[..2].iter().map(|case| &case.place).collect();
    assert_eq!(*places[0], Place::OneThread);
    // A library without threads cannot use the two little cores.
    assert!(matches!(places[1], Place::Cluster(cluster) if cluster.name == "big"));
    let (cases, _) = plan(&Fake(Provider::OpenBlas, usize::MAX), &machine);
    let little = cases
        .iter()
        .find(|case| matches!(&case.place, Place::Cluster(cluster) if cluster.name == "little"));
    assert_eq!(little.unwrap().threads(), 2);
}

#[test]
fn a_gpu_gets_the_large_sizes_only() {
    let (cases, _) = plan(&Fake(Provider::Cublas, 1), &machine(&[("all", &[0, 1])]));
    assert_eq!(
        told(&cases),
        [
            "SGEMM L2 Gpu",
            "SGEMM memory Gpu",
            "DGEMM L2 Gpu",
            "DGEMM memory Gpu"
        ]
    );
}

#[test]
fn a_machine_is_read_from_its_root() {
    let (_dir, root) = tree(&[
        ("/sys/devices/system/cpu/online", "0-1"),
        ("/sys/devices/system/cpu/cpu0/cpu_capacity", "400"),
        ("/sys/devices/system/cpu/cpu1/cpu_capacity", "1024"),
        ("/sys/devices/system/cpu/cpu1/cache/index0/level", "1"),
        ("/sys/devices/system/cpu/cpu1/cache/index0/type", "Data"),
        ("/sys/devices/system/cpu/cpu1/cache/index0/size", "64K"),
    ]);
    let machine = Machine::read(&root, Bounds::new(1 << 30, 1.0, 1.0));
    assert_eq!(machine.cpus(), [1, 0]);
    assert_eq!(machine.caches.last(), 64 << 10);
}
