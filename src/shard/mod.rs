//! One core's cache.
