//! The example guests return the right values.

use serde_json::json;

use super::setup::Setup;

#[test]
fn words_are_counted_exactly() {
    let setup = Setup::with(
        &["wordcount"],
        "[[component.wordcount.directory]]\nhost = \"text\"\nguest = \"/text\"\n",
    );
    setup.sandbox.write("text/one.txt", "The cat and the dog. THE END\n");
    setup.sandbox.write("text/deep/two.md", "dog: the dog, 2 cats & \u{00c9}t\u{00e9} \u{e9}t\u{e9}\n");
    setup.sandbox.write("text/empty.txt", "");
    setup.sandbox.write("text/not-text.bin", "the the the");
    setup.sandbox.write("text/.hidden.txt", "the the the");
    let expected = json!({
        "files": 3,
        "total-words": 13,
        "distinct-words": 7,
        "top": [{"word": "the", "count": 4}, {"word": "dog", "count": 3}, {"word": "\u{e9}t\u{e9}", "count": 2}],
    });
    assert_eq!(setup.value("word-count", r#"["/text", 3]"#), expected);
    // The same through the store, with a child for each file.
    let id = setup.submit("word-count", r#"["/text", 3]"#);
    setup.run_all();
    assert_eq!(setup.status(&id)["result"], expected);
    let children = setup.run(["list", "--json", "--task", "count-words"]).expect(0).json_lines();
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|child| child["parent"] == json!(id)));
}

#[test]
fn words_of_a_directory_that_is_not_granted_are_not_counted() {
    let failed = Setup::new(&["wordcount"]).failure("word-count", r#"["/text", 3]"#, 1, "returned");
    failed.says(&["failed to list `/text`"]);
}

#[test]
fn the_mandelbrot_set_is_a_picture() {
    let setup = Setup::new(&["mandelbrot"]);
    let png = setup.run(["call", "--raw", "mandelbrot.render", "[64, 48, 100]"]).expect(0).stdout;
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let mut chunks = Vec::new();
    let mut rest = &png[8..];
    while !rest.is_empty() {
        let (length, after) = rest.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        chunks.push((String::from_utf8_lossy(&after[..4]).into_owned(), &after[4..4 + length]));
        rest = &after[4 + length + 4..];
    }
    let (name, header) = &chunks[0];
    assert_eq!(name, "IHDR");
    assert_eq!(header[..8], [0, 0, 0, 64, 0, 0, 0, 48], "width and height");
    assert!(chunks.iter().any(|(name, _)| name == "IDAT"));
    assert_eq!(chunks.last().map(|(name, _)| name.as_str()), Some("IEND"));
    // Inside the set, and far outside of it.
    let tile = setup.value("mandelbrot.tile", "[64, 48, 100, 24, 1]");
    let tile = tile.as_array().expect("a list of bytes");
    assert_eq!(tile.len(), 64);
    assert!(tile.iter().any(|pixel| *pixel == 0) && tile[0] != 0, "{tile:?}");
}

#[test]
fn fibonacci_numbers_are_right_with_one_slot_as_with_two() {
    let setup = Setup::new(&["fib"]);
    for slots in ["1", "2"] {
        let mut numbers = vec![];
        for n in 0..10 {
            let output = setup.run(["call", "--slots", slots, "fibonacci.fib", &format!("[{n}]")]).expect(0);
            numbers.push(output.json().as_u64().expect("a number"));
        }
        assert_eq!(numbers, [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]);
    }
}
