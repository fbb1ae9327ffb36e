//! Strikes a provider's key out of what the provider says. Knows nothing of what that is.

/// A shorter text could stand in a message by chance.
const SHORTEST_KEY: usize = 8;

/// Strikes out the key, and words that providers have half struck out themselves.
pub fn strike(text: &str, key: Option<&str>) -> String {
    let text = match key.filter(|key| key.len() >= SHORTEST_KEY) {
        Some(key) => text.replace(key, "***"),
        None => text.to_owned(),
    };
    let words = text.split(' ').map(|word| if word.contains("***") { "***" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
