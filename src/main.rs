//! Temporary.
use run_wasm_runner::{model::*, runner::*, store::*, wasm::*};
use std::sync::Arc;
use std::time::Duration;
fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let sources: Vec<_> = std::fs::read_dir("target/guests")
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            ["fib", "workflow", "faults", "mandelbrot", "echo", "adder", "calculator", "greet-cli"]
                .contains(&p.file_stem().unwrap().to_str().unwrap())
        })
        .map(|p| ComponentSource {
            name: p.file_stem().unwrap().to_str().unwrap().into(),
            path: p,
            grants: Default::default(),
            defaults: Default::default(),
            tasks: Default::default(),
        })
        .collect();
    let t = std::time::Instant::now();
    let lib = Arc::new(
        Library::load(
            &sources,
            &LibraryOptions { cache_directory: Some("/tmp/smoke/cache".into()), max_live: None },
            clock.clone(),
        )
        .unwrap_or_else(|e| {
            for e in e {
                eprintln!("{e}");
            }
            std::process::exit(1)
        }),
    );
    eprintln!("load {:?}", t.elapsed());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let task = lib.resolve(&args[1]).unwrap();
    let slots: usize = args[3].parse().unwrap();
    let id = InvocationId::generate();
    let new = NewInvocation {
        id,
        task: task.id.clone(),
        component_digest: task.digest,
        arguments: lib.check_arguments(task, &args[2]).unwrap(),
        max_attempts: 1,
        priority: 0,
        delay: Duration::ZERO,
        key: None,
        labels: vec![],
        child_of: None,
    };
    store.commit(&Batch { submits: vec![new], ..Default::default() }).unwrap();
    let t = std::time::Instant::now();
    let runner = Runner::start(
        store.clone(),
        lib.clone(),
        clock,
        RunnerOptions { slots, max_live: lib.max_live(), ..Default::default() },
    )
    .unwrap();
    let out = runner.wait_final(id, Some(Duration::from_secs(60)));
    eprintln!("took {:?}", t.elapsed());
    println!("{:.300}", format!("{out:?}"));
    println!("{:?}", runner.stop());
    eprintln!("stop {:?}", t.elapsed());
}
