//! Which language a text is in, cheaply: by its script, else by its most frequent words. Knows nothing of requests.

/// The most words that are looked at.
const WORDS: usize = 200;

/// Words that stand in nearly every sentence of a language, and in few of another.
const FREQUENT: [(&str, &[&str]); 7] = [
    ("en", &["the", "and", "of", "to", "is", "what", "how", "you", "this", "that", "with", "for", "please", "are"]),
    ("de", &["der", "die", "und", "ist", "das", "nicht", "wie", "ich", "ein", "eine", "mit", "für", "auf", "bitte"]),
    ("fr", &["le", "les", "et", "est", "des", "une", "pas", "que", "pour", "dans", "vous", "qui", "je", "du"]),
    ("es", &["el", "los", "y", "es", "una", "qué", "por", "para", "cómo", "con", "del", "las", "más", "puedes"]),
    ("it", &["il", "che", "di", "è", "una", "per", "non", "con", "come", "sono", "gli", "della", "questo", "puoi"]),
    ("pt", &["o", "os", "e", "é", "uma", "não", "para", "com", "como", "do", "da", "você", "mais", "isso"]),
    ("nl", &["het", "een", "van", "en", "niet", "dat", "ik", "je", "voor", "met", "zijn", "hoe", "wat", "aan"]),
];

/// The language, by its ISO 639-1 code; `None` where it is not plain.
pub(crate) fn recognise(text: &str) -> Option<&'static str> {
    by_script(text).or_else(|| by_words(text))
}

/// Where another script than the Latin one has at least a third of all letters.
fn by_script(text: &str) -> Option<&'static str> {
    const NAMES: [&str; 9] = ["ru", "el", "he", "ar", "hi", "th", "ko", "ja", "zh"];
    let (mut counts, mut letters) = ([0_usize; NAMES.len()], 0_usize);
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        letters += 1;
        let at = match c {
            '\u{400}'..='\u{52f}' => 0,
            '\u{370}'..='\u{3ff}' => 1,
            '\u{590}'..='\u{5ff}' => 2,
            '\u{600}'..='\u{6ff}' => 3,
            '\u{900}'..='\u{97f}' => 4,
            '\u{e00}'..='\u{e7f}' => 5,
            '\u{ac00}'..='\u{d7af}' => 6,
            '\u{3040}'..='\u{30ff}' => 7,
            '\u{4e00}'..='\u{9fff}' => 8,
            _ => continue,
        };
        counts[at] += 1;
    }
    // Japanese is written with Chinese characters and its own between them.
    if counts[7] * 10 > counts[8] {
        counts[7] += std::mem::take(&mut counts[8]);
    }
    let (at, most) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    (*most > 0 && most * 3 >= letters).then(|| NAMES[at])
}

fn by_words(text: &str) -> Option<&'static str> {
    let mut counts = [0_u32; FREQUENT.len()];
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).take(WORDS) {
        let word = word.to_lowercase();
        for (count, (_, words)) in counts.iter_mut().zip(&FREQUENT) {
            *count += u32::from(words.contains(&word.as_str()));
        }
    }
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(counts[*at]));
    (counts[order[0]] > counts[order[1]]).then(|| FREQUENT[order[0]].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_recognised_by_script_or_by_frequent_words() {
        for (text, language) in [
            ("What is the capital of France, and how do I get there?", Some("en")),
            ("Wie ist das Wetter heute und was soll ich mit der Jacke tun?", Some("de")),
            ("Quelle est la capitale et que faire dans les environs pour une semaine ?", Some("fr")),
            ("¿Cómo es el clima y qué puedo hacer por las tardes?", Some("es")),
            ("Qual è il tempo che fa e come sono le strade della città?", Some("it")),
            ("Como é o tempo e o que não posso fazer com uma criança?", Some("pt")),
            ("Wat is het weer en hoe kom ik aan een jas van wol?", Some("nl")),
            ("Как погода сегодня?", Some("ru")),
            ("今天天气怎么样？", Some("zh")),
            ("今日の天気はどうですか", Some("ja")),
            ("오늘 날씨 어때요?", Some("ko")),
            ("مرحبا كيف حالك", Some("ar")),
            ("SELECT 1 + 1", None),
            ("", None),
        ] {
            assert_eq!(recognise(text), language, "{text}");
        }
    }
}
