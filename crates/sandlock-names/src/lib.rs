//! Resolution of the host names that rules mention.
