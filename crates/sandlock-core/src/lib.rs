//! The library: a policy made into a plan, launched, and waited for.
