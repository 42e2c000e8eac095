//! The program `dts`.
fn main() {}
