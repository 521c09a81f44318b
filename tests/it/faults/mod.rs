//! What guests, files and machines can do wrong, and what becomes of it.
