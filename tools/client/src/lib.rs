//! A small ZooKeeper client for tests and load generation.
