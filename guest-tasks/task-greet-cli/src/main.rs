//! An ordinary command-line program. Nothing here knows of WebAssembly or of the
//! runner: its arguments are the invocation's, what it prints is the value, a
//! non-zero exit is a failure. (WASI 0.2 carries success or failure, not the code:
//! the runner sees every code but 0 as 1.)
//!
//! ```text
//! greet-cli [NAME]… [--stderr TEXT] [--big MB] [--bytes BYTE,BYTE…] [--panic] [--exit CODE]
//! ```

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mut out = io::stdout().lock();
    let mut exit_code = 0;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage(&argument));
        match argument.as_str() {
            "--stderr" => eprintln!("{}", value()),
            "--big" => {
                let megabytes: usize = value().parse().unwrap_or_else(|_| usage(&argument));
                let line = [b'x'; 999];
                for _ in 0..megabytes * 1000 {
                    out.write_all(&line)?;
                    out.write_all(b"\n")?;
                }
            }
            "--bytes" => {
                let bytes: Result<Vec<u8>, _> = value().split(',').map(str::parse).collect();
                out.write_all(&bytes.unwrap_or_else(|_| usage(&argument)))?;
            }
            "--panic" => panic!("asked to panic"),
            "--exit" => exit_code = value().parse().unwrap_or_else(|_| usage(&argument)),
            name => writeln!(out, "Hello, {name}!")?,
        }
    }
    out.flush()?;
    Ok(ExitCode::from(exit_code))
}

fn usage(argument: &str) -> ! {
    eprintln!("greet-cli: `{argument}` needs a value that fits");
    std::process::exit(2)
}
