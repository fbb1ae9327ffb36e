//! Questions that differ from a real one in the one thing on which the answer hangs. Some of the countries and antonyms stand in
//! the guards' lists too, so that what is served of these kinds says little of words that the lists lack. Knows no guard.

use crate::data::hash;

/// A question, and one that wants another answer.
pub struct NearMiss {
    pub kind: &'static str,
    pub asked: String,
    pub kept: String,
}

const COUNTRIES: [&str; 12] = [
    "India",
    "Canada",
    "Germany",
    "Brazil",
    "Nepal",
    "Kenya",
    "Sweden",
    "Chile",
    "Vietnam",
    "Portugal",
    "Fiji",
    "Mauritius",
];
const NAMES: [&str; 12] = [
    "Trump",
    "Obama",
    "Modi",
    "Hillary",
    "Google",
    "Amazon",
    "Netflix",
    "Toyota",
    "Priya",
    "Linda",
    "Kubernetes",
    "Shopify",
];
const OPPOSITES: [(&str, &str); 24] = [
    ("best", "worst"),
    ("increase", "decrease"),
    ("lose", "gain"),
    ("buy", "sell"),
    ("good", "bad"),
    ("old", "new"),
    ("high", "low"),
    ("most", "least"),
    ("start", "stop"),
    ("easy", "difficult"),
    ("before", "after"),
    ("advantages", "disadvantages"),
    ("men", "women"),
    ("girl", "boy"),
    ("love", "hate"),
    ("possible", "impossible"),
    ("legal", "illegal"),
    ("install", "uninstall"),
    ("fast", "slow"),
    ("cheap", "expensive"),
    ("positive", "negative"),
    ("hot", "cold"),
    ("strong", "weak"),
    ("first", "last"),
];
const PAIRS: [(&str, &str); 20] = [
    ("India", "China"),
    ("Python", "Java"),
    ("USD", "EUR"),
    ("Paris", "Rome"),
    ("kilograms", "pounds"),
    ("JSON", "XML"),
    ("Android", "iPhone"),
    ("Delhi", "Mumbai"),
    ("C++", "Rust"),
    ("Gmail", "Outlook"),
    ("MySQL", "Postgres"),
    ("PDF", "Word"),
    ("Boston", "Chicago"),
    ("Celsius", "Fahrenheit"),
    ("English", "French"),
    ("Excel", "CSV"),
    ("Berlin", "Munich"),
    ("Ruby", "Go"),
    ("WhatsApp", "Telegram"),
    ("AWS", "Azure"),
];
const DIRECTIONS: [&str; 12] = [
    "How do I travel from {a} to {b}?",
    "How do I convert {a} to {b}?",
    "Is {a} better than {b}?",
    "How can I move my files from {a} to {b}?",
    "What is the cheapest way to send a parcel from {a} to {b}?",
    "Why did {a} overtake {b}?",
    "Should I switch from {a} to {b}?",
    "How long does it take to migrate {a} into {b}?",
    "Can I translate {a} into {b}?",
    "Was {a} created before {b}?",
    "How much larger is {a} than {b}?",
    "How do I import data from {a} to {b}?",
];

/// Near-misses of these questions.
pub fn make<'a>(questions: impl Iterator<Item = &'a str>) -> Vec<NearMiss> {
    let mut all = Vec::new();
    for question in questions {
        let made = [
            ("number", number(question)),
            ("negation", negation(question)),
            ("antonym", antonym(question)),
            ("country", swap(question, &COUNTRIES)),
            ("name", name(question)),
        ];
        all.extend(made.into_iter().filter_map(|(kind, made)| {
            Some(NearMiss { kind, asked: made.filter(|made| made != question)?, kept: question.to_owned() })
        }));
    }
    for template in DIRECTIONS {
        for (a, b) in PAIRS {
            let fill = |a: &str, b: &str| template.replace("{a}", a).replace("{b}", b);
            all.push(NearMiss { kind: "direction", asked: fill(a, b), kept: fill(b, a) });
        }
    }
    all
}

/// The words, each with what stands around it.
fn replace(question: &str, change: impl Fn(usize, &str) -> Option<String>) -> Option<String> {
    let mut is_changed = false;
    let words: Vec<String> = question
        .split(' ')
        .enumerate()
        .map(|(at, token)| {
            let word = token.trim_matches(|c: char| !c.is_alphanumeric());
            match (!is_changed && !word.is_empty()).then(|| change(at, word)).flatten() {
                Some(other) => {
                    is_changed = true;
                    token.replacen(word, &other, 1)
                }
                None => token.to_owned(),
            }
        })
        .collect();
    is_changed.then(|| words.join(" "))
}

fn number(question: &str) -> Option<String> {
    replace(question, |_, word| {
        let value: u64 = word.parse().ok()?;
        Some((value + 1 + hash(question) % 9).to_string())
    })
}

fn negation(question: &str) -> Option<String> {
    const VERBS: [&str; 12] =
        ["is", "are", "can", "should", "do", "does", "did", "was", "will", "would", "could", "have"];
    let words: Vec<&str> = question.split(' ').collect();
    let at = words.iter().position(|word| VERBS.contains(&word.to_lowercase().as_str()))?;
    if words.len() < at + 4 || question.contains("n't") || question.contains(" not ") || hash(question) % 6 != 0 {
        return None;
    }
    let mut changed: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    if hash(question) % 4 < 2 {
        changed[at] = format!("{}n't", words[at].trim_end_matches("n"))
            .replace("willn't", "won't")
            .replace("Willn't", "Won't")
            .replace("can't", "can't");
        if words[at].eq_ignore_ascii_case("can") {
            changed[at] = "can't".to_owned();
        }
    } else {
        changed.insert(at + 2, "not".to_owned());
    }
    Some(changed.join(" "))
}

fn antonym(question: &str) -> Option<String> {
    replace(question, |_, word| {
        let lower = word.to_lowercase();
        let found = OPPOSITES.iter().find(|(a, b)| *a == lower || *b == lower)?;
        Some(if found.0 == lower { found.1 } else { found.0 }.to_owned())
    })
}

fn other(question: &str, word: &str, list: &[&str]) -> String {
    let at = usize::try_from(hash(question)).unwrap_or(0) % list.len();
    if list[at].eq_ignore_ascii_case(word) { list[(at + 1) % list.len()].to_owned() } else { list[at].to_owned() }
}

fn swap(question: &str, list: &[&str]) -> Option<String> {
    replace(question, |_, word| {
        list.iter().any(|one| one.eq_ignore_ascii_case(word)).then(|| other(question, word, list))
    })
}

/// A word with a capital inside the question that is no country.
fn name(question: &str) -> Option<String> {
    if hash(question) % 4 != 0 {
        return None;
    }
    replace(question, |at, word| {
        let is_name = at > 0 && word.len() > 3 && word.chars().next().is_some_and(char::is_uppercase);
        (is_name && !COUNTRIES.contains(&word)).then(|| other(question, word, &NAMES))
    })
}
