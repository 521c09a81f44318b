//! Tasks belong to components: ids, providers of imports, and stores that components
//! share.

mod components;
mod earlier;
mod names;
mod platform;
mod stores;
