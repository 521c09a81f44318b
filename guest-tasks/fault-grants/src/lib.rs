//! Goes to the bounds of what it was granted, one function per bound. Nothing here
//! is an example to follow.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Seek, SeekFrom, Write};

use exports::demo::grants::grants::Guest;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasm_runner::task::context;
use wasm_runner::task::invocations;
use wasm_runner::task::log::{Level, log};
use wasm_runner::task::types::SubmitOptions;

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:grants/guest",
    generate_all,
});

const KIB: usize = 1 << 10;

struct Grants;
export!(Grants);

impl Guest for Grants {
    fn open_many(directory: String, count: u32) -> Result<u32, String> {
        open_many(&directory, count).map_err(|(got, error)| format!("after {got}: {error}"))
    }

    fn open_many_or_abort(directory: String, count: u32) -> u32 {
        open_many(&directory, count).expect("all of them open")
    }

    fn create_many(directory: String, count: u32) -> Result<u32, String> {
        for number in 0..count {
            File::create(format!("{directory}/{number}"))
                .map_err(|error| format!("after {number}: {error}"))?;
        }
        Ok(count)
    }

    fn fill(path: String, kib: u32) -> Result<u32, String> {
        fill(&path, kib).map(|()| kib)
    }

    fn fill_again(path: String, kib: u32, times: u32) -> Result<u32, String> {
        for time in 0..times {
            fill(&path, kib).map_err(|error| format!("the {time}th time: {error}"))?;
            fs::remove_file(&path).map_err(|error| error.to_string())?;
        }
        Ok(times)
    }

    fn stretch(path: String, kib: u32) -> Result<(), String> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        file.and_then(|file| file.set_len(u64::from(kib) * KIB as u64)).map_err(|error| error.to_string())
    }

    fn write_behind(path: String, kib: u32) -> Result<(), String> {
        let write = || -> io::Result<()> {
            let mut file = File::create(path)?;
            file.seek(SeekFrom::Start(u64::from(kib) * KIB as u64))?;
            file.write_all(b"x")
        };
        write().map_err(|error| error.to_string())
    }

    fn move_file(old: String, new: String, link: bool) -> Result<(), String> {
        let moved = if link { fs::hard_link(old, new) } else { fs::rename(old, new) };
        moved.map_err(|error| error.to_string())
    }

    fn names(directory: String) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| error.to_string())?;
        let mut names: Vec<_> =
            entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn hoard_streams(directory: String, count: u32) -> Result<u32, String> {
        fs::write(format!("{directory}/file"), vec![b'x'; 64 * KIB]).map_err(|error| error.to_string())?;
        let flags = (PathFlags::empty(), OpenFlags::empty(), DescriptorFlags::READ);
        let file = granted(&directory)?.open_at(flags.0, "file", flags.1, flags.2);
        let file = file.map_err(|error| error.to_string())?;
        keep(count, || {
            let stream = file.read_via_stream(0)?;
            stream.read(64 * KIB as u64).expect("the file can be read");
            stream.subscribe().block();
            Ok(stream)
        })
    }

    fn hoard_listings(directory: String, count: u32) -> Result<u32, String> {
        let long = "x".repeat(200);
        for number in 0..1_000 {
            File::create(format!("{directory}/{number}{long}")).map_err(|error| error.to_string())?;
        }
        let directory = granted(&directory)?;
        keep(count, || directory.read_directory())
    }

    fn nest(directory: String, depth: u32) -> Result<u32, String> {
        let mut inner = granted(&directory)?;
        for level in 0..depth {
            let made = inner.create_directory_at("d").and_then(|()| {
                inner.open_at(
                    PathFlags::empty(),
                    "d",
                    OpenFlags::DIRECTORY,
                    DescriptorFlags::MUTATE_DIRECTORY,
                )
            });
            // One descriptor at a time: the last is dropped here.
            inner = made.map_err(|error| format!("after {level}: {error}"))?;
        }
        Ok(depth)
    }

    fn shrink_behind(directory: String, times: u32) -> Result<u32, String> {
        let flags = (PathFlags::empty(), OpenFlags::CREATE, DescriptorFlags::WRITE);
        let file = granted(&directory)?.open_at(flags.0, "file", flags.1, flags.2);
        let file = file.map_err(|error| error.to_string())?;
        let piece = [b'x'; 64 * KIB];
        let mut streams = Vec::new();
        for time in 0..times {
            // The bytes that a stream has taken may be written later, behind the end that the file has then.
            let stream = file.write_via_stream(u64::from(time % 64) * piece.len() as u64);
            let stream = stream.map_err(|error| error.to_string())?;
            if let Ok(room) = stream.check_write() {
                let bytes = &piece[..piece.len().min(room as usize)];
                stream.write(bytes).map_err(|error| format!("the {time}th time: {error}"))?;
            }
            file.set_size(0).map_err(|error| format!("the {time}th time: {error}"))?;
            streams.push(stream);
            streams.drain(..streams.len().saturating_sub(8));
        }
        Ok(times)
    }

    fn fill_and_spin(path: String, kib: u32) {
        fill(&path, kib).expect("there is room");
        loop {
            black_box(kib);
        }
    }

    fn variables() -> Vec<(String, String)> {
        let mut variables: Vec<_> = std::env::vars().collect();
        variables.sort();
        variables
    }

    fn probe(names: Vec<String>) -> Vec<String> {
        names.into_iter().filter(|name| std::env::var_os(name).is_some()).collect()
    }

    fn tell(variable: String) {
        let value = value_of(&variable);
        let (first, second) = value.split_at(value.len() / 2);
        println!("whole: {value}!");
        eprintln!("whole: {value}!");
        for piece in ["in two: ", first, second, "!\n"] {
            let _ = io::stdout().write_all(piece.as_bytes()).and_then(|()| io::stdout().flush());
            let _ = io::stderr().write_all(piece.as_bytes());
        }
        log(Level::Info, &format!("logged: {value}!"));
        context::progress(1, 2, &format!("reported: {value}!"));
    }

    fn tell_on_two_lines(variable: String) {
        let value = value_of(&variable);
        let (first, second) = value.split_at(value.len() / 2);
        println!("{first}\n{second}");
    }

    fn reveal(variable: String) -> String {
        value_of(&variable)
    }

    fn fail_with(variable: String) -> Result<(), String> {
        Err(format!("failed: {}!", value_of(&variable)))
    }

    fn panic_with(variable: String) {
        panic!("panicked: {}!", value_of(&variable));
    }

    fn fail_in_child(variable: String) -> String {
        let arguments = format!("[{:?}]", value_of(&variable));
        match invocations::call("demo:grants/grants.fails", &arguments) {
            Ok(value) => value,
            // As a log message: a value would not be scrubbed.
            Err(error) => {
                log(Level::Error, &format!("{error:?}"));
                panic!("the child failed: {error:?}");
            }
        }
    }

    fn large_argument(kib: u32) -> Result<(), String> {
        let arguments = format!("[\"{}\"]", "x".repeat(kib as usize * KIB));
        let submitted = invocations::submit("demo:grants/grants.takes", &arguments, &plain());
        submitted.map(|_| ()).map_err(|refusal| format!("{refusal:?}"))
    }

    fn children_or_abort(count: u32) -> u32 {
        for _ in 0..count {
            invocations::submit("demo:grants/grants.takes", "[\"\"]", &plain()).expect("it is submitted");
        }
        count
    }

    fn fails(message: String) -> Result<(), String> {
        Err(message)
    }

    fn takes(_: String) {}
}

fn value_of(variable: &str) -> String {
    std::env::var(variable).unwrap_or_default()
}

/// Makes things and keeps them all.
fn keep<T>(count: u32, mut make: impl FnMut() -> Result<T, ErrorCode>) -> Result<u32, String> {
    let mut kept = Vec::new();
    for _ in 0..count {
        kept.push(make().map_err(|error| format!("after {}: {}", kept.len(), error.name()))?);
    }
    Ok(count)
}

/// A granted directory, as the bare interface has it.
fn granted(path: &str) -> Result<Descriptor, String> {
    let mut directories = get_directories().into_iter();
    directories
        .find(|(_, name)| name == path)
        .map(|(directory, _)| directory)
        .ok_or("no such grant".to_owned())
}

fn open_many(directory: &str, count: u32) -> Result<u32, (u32, io::Error)> {
    let mut files = Vec::new();
    for number in 0..count {
        let file = File::create(format!("{directory}/{number}")).map_err(|error| (number, error))?;
        files.push(file);
    }
    Ok(black_box(&files).len() as u32)
}

fn fill(path: &str, kib: u32) -> Result<(), String> {
    let mut file = File::create(path).map_err(|error| format!("it can't be created: {error}"))?;
    let piece = [b'x'; KIB];
    for written in 0..kib {
        file.write_all(&piece).map_err(|error| format!("after {written} KiB: {error}"))?;
    }
    Ok(())
}

fn plain() -> SubmitOptions {
    SubmitOptions { delay_ms: None, priority: None, key: None, detached: false, labels: Vec::new() }
}
