//! What the integration tests share: made-up boards and made-up faults.
#![allow(dead_code)] // each test program uses a part

pub mod boards;
pub mod faults;
pub mod program;
pub mod tree;

pub use tree::Tree;
