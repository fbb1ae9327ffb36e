//! The official Python SDKs' own tests of the endpoints that Penstock has, against the gateway in front of the simulator:
//! every field of a request that an SDK knows, and every answer checked against the SDK's types. See `tests/sdk/official.py`.

use penstock_tests::{World, checkout, tool};
use tokio::process::Command;

/// The models that these tests name, and what answers in their place.
const MODELS: [(&str, &str); 10] = [
    ("gpt-6-astra", "demo/echo"),
    ("gpt-3.5-turbo-instruct", "demo/echo"),
    ("text-embedding-3-small", "demo/embed"),
    ("omni-moderation-2024-09-26", "demo/moderate"),
    ("tts-1", "demo/voice"),
    ("whisper-1", "demo/listen"),
    ("gpt-4o-transcribe", "demo/listen"),
    ("gpt-image-1.5", "demo/paint"),
    ("gpt-image-2.5-flare", "demo/paint"),
    ("claude-opus-5-5", "demo/echo"),
];

fn config() -> String {
    let model = |(name, target)| format!("[models.\"{name}\"]\ntargets = [{{ model = \"{target}\" }}]\n");
    MODELS.into_iter().map(model).collect()
}

/// Runs these files of one SDK but for the tests with one of the words of `but` in their names. Gives pytest's last line.
async fn run(world: &World, sdk: &str, files: &[&str], but: &[&str]) -> String {
    let named: Vec<String> = but.iter().map(|word| format!("not {word}")).collect();
    let mut command = Command::new(tool("PENSTOCK_TEST_PYTHON"));
    command.current_dir(format!("{}/{sdk}", tool("PENSTOCK_TEST_SDK_TESTS"))).kill_on_drop(true);
    command.env("PENSTOCK_URL", world.url()).env("PENSTOCK_KEY", world.key());
    command.env("PYTHONPATH", checkout().join("tests/sdk")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args([
        "-m",
        "pytest",
        "-p",
        "official",
        "-p",
        "no:cacheprovider",
        "--quiet",
        "--tb=short",
        "-c",
        "/dev/null",
    ]);
    command.args(["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=session"]);
    command.args(["-o", "asyncio_default_test_loop_scope=session", "--rootdir", ".", "-k", &named.join(" and ")]);
    command.args(files.iter().map(|file| format!("tests/api_resources/{file}")));
    let output = command.output().await.expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{sdk}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().last().unwrap_or_default().to_owned()
}

/// How many passed, of a line like `94 passed, 130 deselected in 5.20s`.
fn passed(line: &str) -> u32 {
    line.split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count: {line}"))
}

#[tokio::test]
async fn openais_own_tests_of_its_python_sdk_pass() {
    let world = World::setup().demo().config(&config()).start().await;
    let files = [
        "chat/test_completions.py",
        "test_completions.py",
        "test_embeddings.py",
        "test_images.py",
        "test_models.py",
        "test_conversations.py",
        "audio/test_transcriptions.py",
        "audio/test_translations.py",
    ];
    // aiohttp is another way to send the same. What is named by an id that OpenAI made up is not ours. Embeddings come as
    // base64, which the SDK asks for by itself and reads after its strict check of the types.
    let but = ["Images", "aiohttp", "retrieve", "update", "list", "delete", "(Embeddings and strict)"];
    let line = run(&world, "openai", &files, &but).await;
    assert!(passed(&line) >= 100, "{line}");
}

#[tokio::test]
async fn anthropics_own_tests_of_its_python_sdk_pass() {
    let world = World::setup().demo().config(&config()).start().await;
    let line = run(
        &world,
        "anthropic",
        &["test_messages.py", "beta/test_messages.py"],
        &["aiohttp", "deprecated_model", "all_params"],
    )
    .await;
    assert!(passed(&line) >= 30, "{line}");
}
