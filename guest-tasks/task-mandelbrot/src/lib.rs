//! Fans an image out to child invocations and assembles a PNG.
//!
//! ```text
//! run-wasm-runner call --raw mandelbrot.render '[800, 600, 500]' > mandelbrot.png
//! ```
//!
//! A band of rows travels as one byte per pixel, an index into the palette that
//! the PNG carries too.

use exports::demo::image::mandelbrot::Guest;
use wasm_runner::task::types::SubmitOptions;
use wasm_runner::task::{context, invocations};

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:image/guest",
    generate_all,
});

const TILE: &str = "demo:image/mandelbrot.tile";
const MAX_SIDE: u32 = 8192;
/// Enough pixels to be worth an invocation.
const PIXELS_PER_TILE: u32 = 32_768;

struct Mandelbrot;
export!(Mandelbrot);

impl Guest for Mandelbrot {
    fn render(width: u32, height: u32, max_iterations: u32) -> Result<Vec<u8>, String> {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(format!("width and height must be from 1 to {MAX_SIDE}"));
        }
        let rows_per_tile = (PIXELS_PER_TILE / width).max(1);
        let arguments: Vec<String> = (0..height)
            .step_by(rows_per_tile as usize)
            .map(|first_row| {
                let rows = rows_per_tile.min(height - first_row);
                format!("[{width}, {height}, {max_iterations}, {first_row}, {rows}]")
            })
            .collect();
        let plain =
            SubmitOptions { delay_ms: None, priority: None, key: None, detached: false, labels: Vec::new() };
        let ids = invocations::submit_all(TILE, &arguments, &plain)
            .map_err(|refusal| format!("failed to submit: {refusal:?}"))?;

        // In the order of the image, whatever the order in which they finish.
        let mut pixels = Vec::with_capacity((width * height) as usize);
        for (done, id) in (1..).zip(&ids) {
            let json = invocations::await_result(id).map_err(|e| format!("a tile: {e:?}"))?;
            let tile: Vec<u8> = serde_json::from_str(&json).map_err(|e| e.to_string())?;
            pixels.extend(tile);
            context::progress(done, ids.len() as u64, "tiles");
        }
        encode(width, height, &pixels).map_err(|e| e.to_string())
    }

    fn tile(width: u32, height: u32, max_iterations: u32, first_row: u32, rows: u32) -> Vec<u8> {
        // The part of the plane that is worth seeing, centred and undistorted.
        let scale = (3.0 / f64::from(width)).max(2.4 / f64::from(height));
        let mut pixels = Vec::with_capacity((width * rows) as usize);
        for row in first_row..first_row + rows {
            let im = (f64::from(row) + 0.5 - f64::from(height) / 2.0) * scale;
            for column in 0..width {
                let re = (f64::from(column) + 0.5 - f64::from(width) / 2.0) * scale - 0.7;
                pixels.push(colour_index(re, im, max_iterations));
            }
        }
        pixels
    }
}

/// How fast the point escapes, smoothed: 0 if it never does.
fn colour_index(re: f64, im: f64, max_iterations: u32) -> u8 {
    let (mut x, mut y) = (0.0_f64, 0.0_f64);
    for iteration in 0..max_iterations {
        let (x2, y2) = (x * x, y * y);
        if x2 + y2 > 256.0 {
            // The fractional part removes the bands between whole iterations.
            let smooth = f64::from(iteration) + 1.0 - (x2 + y2).ln().log2();
            let position = (smooth.max(0.0) + 1.0).ln() * 70.0;
            return 1 + (position as u64 % 255) as u8;
        }
        y = 2.0 * x * y + im;
        x = x2 - y2 + re;
    }
    0
}

/// Black, then 255 colours that run in a circle from blue over white and gold.
fn palette() -> Vec<u8> {
    const STOPS: [[f64; 3]; 6] = [
        [0.0, 7.0, 100.0],
        [32.0, 107.0, 203.0],
        [237.0, 255.0, 255.0],
        [255.0, 170.0, 0.0],
        [60.0, 10.0, 40.0],
        [0.0, 7.0, 100.0],
    ];
    let mut colours = vec![0, 0, 0];
    for index in 0..255 {
        let position = f64::from(index) / 255.0 * (STOPS.len() - 1) as f64;
        let (from, to) = (STOPS[position as usize], STOPS[position as usize + 1]);
        colours.extend(from.iter().zip(to).map(|(a, b)| (a + (b - a) * position.fract()) as u8));
    }
    colours
}

fn encode(width: u32, height: u32, pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}
