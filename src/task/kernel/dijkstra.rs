//! Dijkstra's shortest paths on a dense directed graph (E. W. Dijkstra, "A note on two problems in connexion
//! with graphs", 1959), with the linear search for the nearest node that suits dense graphs.

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Nodes. The edges take 32 kB, about a first-level cache.
const N: usize = 128;

/// One round is the distances from one node; their checksum chooses the next node and changes all edges.
pub(crate) struct Dijkstra {
    /// Edge `i -> j` at `i * N + j`, before `salt`.
    edges: Vec<u16>,
    /// Exclusive-ored with every edge, so that a new graph costs nothing.
    salt: u16,
    source: usize,
}

impl Rounds for Dijkstra {
    fn new(seed: u64) -> Self {
        let mut numbers = SplitMix::new(seed);
        let edges = (0..N * N).map(|_| numbers.next() as u16).collect();
        Self {
            edges,
            salt: 0,
            source: 0,
        }
    }

    fn round(&mut self) -> u64 {
        let checksum = digest(self.distances().iter().map(|&d| u64::from(d)));
        self.source = checksum as usize % N;
        self.salt = (checksum >> 32) as u16;
        checksum
    }
}

impl Dijkstra {
    /// The length of the shortest path from the source to each node. Edges are 1 to 65536 long.
    fn distances(&self) -> [u32; N] {
        let mut distance = [u32::MAX; N];
        let mut settled = [false; N];
        distance[self.source] = 0;
        while let Some(nearest) = nearest(&distance, &settled) {
            settled[nearest] = true;
            let so_far = distance[nearest];
            let row = &self.edges[nearest * N..][..N];
            // A settled node is nearer than any path through this one, so no check for it is needed.
            for (known, &edge) in distance.iter_mut().zip(row) {
                *known = (*known).min(so_far + length(edge, self.salt));
            }
        }
        distance
    }
}

/// The node not yet settled that is nearest, if one is left. The graph is complete, so all can be reached.
fn nearest(distance: &[u32; N], settled: &[bool; N]) -> Option<usize> {
    (0..N)
        .filter(|&node| !settled[node])
        .min_by_key(|&node| distance[node])
}

fn length(edge: u16, salt: u16) -> u32 {
    u32::from(edge ^ salt) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All distances of the present graph by Floyd and Warshall.
    fn all_pairs(graph: &Dijkstra) -> Vec<Vec<u32>> {
        let entry = |i: usize, j: usize| {
            if i == j {
                0
            } else {
                length(graph.edges[i * N + j], graph.salt)
            }
        };
        let mut d: Vec<Vec<u32>> = (0..N).map(|i| (0..N).map(|j| entry(i, j)).collect()).collect();
        for k in 0..N {
            let through = d[k].clone();
            for row in &mut d {
                let to_k = row[k];
                for (known, rest) in row.iter_mut().zip(&through) {
                    *known = (*known).min(to_k + rest);
                }
            }
        }
        d
    }

    #[test]
    fn agrees_with_floyd_and_warshall() {
        let mut graph = Dijkstra::new(11);
        for _ in 0..3 {
            assert_eq!(graph.distances()[..], all_pairs(&graph)[graph.source]);
            graph.round();
        }
    }

    #[test]
    fn a_detour_of_short_edges_beats_a_long_edge() {
        let mut graph = Dijkstra {
            edges: vec![u16::MAX; N * N],
            salt: 0,
            source: 0,
        };
        for node in 0..N - 1 {
            graph.edges[node * N + node + 1] = 9;
        }
        let expected: Vec<u32> = (0..N as u32).map(|node| 10 * node).collect();
        assert_eq!(graph.distances()[..], expected);
    }
}
