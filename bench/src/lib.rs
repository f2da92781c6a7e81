//! Benchmarks of hwmeter; see `benches/`.
