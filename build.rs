//! Rust for `proto/*.proto`, by a compiler written in Rust: nothing needs to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["train.proto", "store.proto"], ["proto"])?;
    // Payloads are slices of the message they came in, not copies.
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}
