//! Real MySQL servers for tests, benches and the demo, without a container engine.
//!
//! [`Server::start`] answers with a running server in about a second: programs are obtained once into a cache
//! folder ([`obtain`]), an initialised data folder is kept per version, and each server runs on a copy of it. The
//! server, its port, its server id and its data folder belong to the [`Server`] value and go with it, also when the
//! process that holds it is killed.
//!
//! Beside the servers there are [`Application`], which remembers what it was told to be committed, [`Proxy`], a TCP proxy
//! that injects the faults of a bad network, [`Chromium`], which looks at pages, and [`dump`], which decides whether two servers hold the same bytes without using any code of dts.
//!
//! ```no_run
//! use dts_testbed::{Server, ServerOptions, Version, dump};
//!
//! let source = Server::start(ServerOptions::new(Version::Mysql56).rds_like())?;
//! let target = Server::start(ServerOptions::new(Version::Mysql97))?;
//! for server in [&source, &target] {
//!     server.exec("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)");
//! }
//! dump::assert_equal(&source, &target, "shop");
//! # Ok::<(), dts_testbed::TestbedError>(())
//! ```
//!
//! What cannot be obtained or started is an error that says what to do; a test that cannot have its server fails.
//! Helpers that a test calls in passing ([`Server::exec`], [`Server::root`], [`dump::table`]) panic instead, with the
//! statement and the server's error log in the message.

pub mod application;
mod apt;
pub mod chromium;
mod data_folder;
pub mod dump;
mod error;
mod installation;
mod npm;
pub mod obtain;
mod options;
mod port;
pub mod proxy;
mod server;
pub mod shop;
mod spawner;

pub use application::Application;
pub use chromium::Chromium;
pub use error::TestbedError;
pub use installation::Installation;
pub use options::{ServerOptions, Version};
pub use proxy::Proxy;
pub use server::Server;
