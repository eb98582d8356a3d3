//! The table of system calls, and the handlers that perform what was checked.
