//! What is allowed: rules, their grammar, and pure checks. Knows nothing of Linux.
