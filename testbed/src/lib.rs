//! Real MySQL servers for tests, benches and the demo, without a container engine.
