//! The testbed itself, on real servers.

mod chromium;
mod dump;
mod lifetime;
mod proxy;
mod server;
