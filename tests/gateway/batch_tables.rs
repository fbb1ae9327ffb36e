//! Batches from tables and into tables, by the command line.

use penstock_tests::World;
use serde_json::json;

/// Runs `penstock batch …` with the world's key, and gives what it printed.
async fn batch(world: &World, arguments: &[&str]) -> String {
    let output = world.run_with(("PENSTOCK_KEY", world.key()), &[&["batch"], arguments].concat()).await;
    assert_eq!(output.code, 0, "{arguments:?}: {}{}", output.out, output.err);
    output.out
}

/// The id of the batch that was made last.
async fn last(world: &World) -> String {
    let listed = batch(world, &["list", "--format", "json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    listed[0]["id"].as_str().expect("an id").to_owned()
}

fn asked(world: &World) -> Vec<String> {
    let calls = world.upstream("alpha").calls();
    let mut asked: Vec<String> = calls
        .iter()
        .map(|call| {
            call.json()["messages"].as_array().into_iter().flatten().map(|m| m["content"].to_string()).collect()
        })
        .collect();
    asked.sort();
    asked
}

#[tokio::test]
async fn rows_of_a_table_become_requests_and_their_answers_a_table() {
    let world = World::start().await;
    world.upstream("alpha").answers("bonjour, \"vous\"").always();
    world.folder().write("words.csv", "id,word\n007,\"sea, {blue}\"\n08,hello\n");
    let prompt = ["--model", "alpha/m", "--prompt", "French: {word}", "--system", "Be {id}.", "--id", "id", "--watch"];
    batch(&world, &[&["submit", "words.csv"], &prompt[..]].concat()).await;
    assert_eq!(asked(&world), [r#""Be 007.""French: sea, {blue}""#, r#""Be 08.""French: hello""#]);

    let id = last(&world).await;
    batch(&world, &["result", &id, "-o", "answers.csv"]).await;
    let table = std::fs::read_to_string(world.folder().path().join("answers.csv")).expect("the table");
    let mut lines: Vec<&str> = table.lines().collect();
    lines[1..].sort_unstable();
    assert!(lines[0].starts_with("\"custom_id\",\"status_code\",\"model\",\"content\""), "{table}");
    assert!(lines[1].starts_with("\"007\",200,\"alpha/m\",\"bonjour, \"\"vous\"\"\",\"stop\""), "{table}");
    assert_eq!(lines.len(), 3, "{table}");

    // What was written as Parquet can be read as Parquet.
    batch(&world, &["result", &id, "-o", "answers.parquet"]).await;
    let prompt = ["--model", "alpha/m", "--prompt", "{custom_id} {content}", "--watch"];
    batch(&world, &[&["submit", "answers.parquet"], &prompt[..]].concat()).await;
    let all = asked(&world);
    assert!(all.contains(&json!("007 bonjour, \"vous\"").to_string()), "{all:?}");
}

#[tokio::test]
async fn the_rows_of_a_select_become_requests() {
    let world = World::start().await;
    world.upstream("alpha").answers("hello").always();
    let prompt = ["--model", "alpha/m", "--prompt", "{n} of {of}", "--watch"];
    let select = "SELECT number + 1 AS n, 'two' AS of FROM numbers(2)";
    batch(&world, &[&["from-sql", select], &prompt[..]].concat()).await;
    assert_eq!(asked(&world), [r#""1 of two""#, r#""2 of two""#]);
}

#[tokio::test]
async fn a_batch_for_later_says_so_and_waits() {
    let world = World::start().await;
    world.folder().write("words.tsv", "word\nsea\n");
    let later = ["--model", "alpha/m", "--prompt", "{word}", "--run-at", "4000000000", "--priority", "low"];
    let refused = [&["batch", "submit", "words.tsv"], &later[..]].concat();
    let refused = world.run_with(("PENSTOCK_KEY", world.key()), &refused).await;
    assert!(refused.code != 0 && refused.err.contains("28 days"), "{}", refused.err);
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    let tomorrow = tomorrow.duration_since(std::time::UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let at = tomorrow.to_string();
    let later = ["--model", "alpha/m", "--prompt", "{word}", "--run-at", &at, "--priority", "low"];
    let said = batch(&world, &[&["submit", "words.tsv"], &later[..]].concat()).await;
    assert!(said.contains("begins when it is to"), "{said}");
    let listed: serde_json::Value =
        serde_json::from_str(&batch(&world, &["list", "--format", "json"]).await).expect("JSON");
    let own = &listed[0]["penstock"];
    assert_eq!((&listed[0]["status"], &own["run_at"]), (&json!("validating"), &json!(tomorrow)), "{listed}");
    assert_eq!(own["priority"], "low", "{listed}");
    assert_eq!(asked(&world), [] as [String; 0]);
}

#[tokio::test]
async fn what_is_wrong_with_a_table_or_its_template_is_said_before_anything_is_sent() {
    let world = World::start().await;
    world.folder().write("words.tsv", "word\thints\nsea\tblue\n");
    world.folder().write("body.json", "[]");
    world.folder().write("broken.parquet", "no parquet");
    let chat: &[&str] = &["--model", "alpha/m", "--prompt"];
    let wrong: [(&str, Vec<&str>, &str); 7] = [
        ("words.tsv", vec![], "--prompt"),
        ("words.tsv", vec!["--prompt", "{word}"], "--model"),
        ("words.tsv", [chat, &["{wrod}"]].concat(), "there is no column `wrod`, only word, hints"),
        ("words.tsv", [chat, &["{word"]].concat(), "without its `}`"),
        ("words.tsv", vec!["--template", "body.json"], "not a JSON object"),
        ("broken.parquet", [chat, &["{word}"]].concat(), "broken.parquet cannot be read as Parquet"),
        ("missing.csv", [chat, &["{word}"]].concat(), "missing.csv cannot be opened"),
    ];
    for (file, options, words) in wrong {
        let arguments = [&["batch", "submit", file], &options[..]].concat();
        let output = world.run_with(("PENSTOCK_KEY", world.key()), &arguments).await;
        assert!(output.code != 0 && output.err.contains(words), "{arguments:?}: {}", output.err);
    }
    assert_eq!(batch(&world, &["list", "--format", "json"]).await.trim(), "[]");
}
