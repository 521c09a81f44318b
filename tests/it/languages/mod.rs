//! The way from nothing to a running task, in each language: `new`, `build`,
//! `call`, with the language's real tools.

mod project;
mod projects;

mod c;
mod cpp;
mod go;
mod imports;
mod javascript;
mod mixed;
mod python;
mod refusals;
mod rust;
mod typescript;
mod wordcount;
