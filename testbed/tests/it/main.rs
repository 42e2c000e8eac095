//! The testbed itself, on real servers.

mod dump;
mod lifetime;
mod proxy;
mod server;
