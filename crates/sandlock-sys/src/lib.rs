//! The kernel edge: every unsafe block of sandlock is here.
