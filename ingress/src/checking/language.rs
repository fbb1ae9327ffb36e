//! The language of a text, where it is long enough to be sure. Code is no language here.

use whatlang::detect;

/// The least and the most of a text that is looked at, in characters: shorter ones are guesses.
const LEAST: usize = 80;
const MOST: usize = 2_000;

/// The three letters that stand for the language (ISO 639-3); `None` when it is not certain.
pub(super) fn of(text: &str) -> Option<&'static str> {
    // Every second part between fences is outside of them.
    let prose = text.split("```").step_by(2).flat_map(str::chars);
    let prose: String = prose.take(MOST).collect();
    if prose.chars().filter(|c| c.is_alphabetic()).count() < LEAST.min(least_letters(&prose)) {
        return None;
    }
    detect(&prose).filter(whatlang::Info::is_reliable).map(|found| found.lang().code())
}

/// Scripts that write a word in one or two letters say as much with fewer of them.
fn least_letters(text: &str) -> usize {
    let is_dense = |c: &char| matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}');
    if text.chars().filter(is_dense).count() * 2 > text.chars().count() { LEAST / 4 } else { LEAST }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_of_prose_and_of_nothing_short() {
        let english = "The weather in the north will be cold and windy until the end of the week, and then it will get warmer again.";
        let german = "Das Wetter im Norden bleibt bis zum Ende der Woche kalt und windig, danach wird es allmählich wieder wärmer.";
        let chinese = "北方的天气在本周末之前将会寒冷多风，之后会逐渐变暖，请大家注意保暖，出门记得带伞。";
        assert_eq!((of(english), of(german), of(chinese)), (Some("eng"), Some("deu"), Some("cmn")));
        assert_eq!((of(""), of("Hello there, how are you?")), (None, None));
        let code = format!("```\n{}\n```", "let the_weather = of_the_week_in_the_north();\n".repeat(20));
        assert_eq!(of(&code), None);
        assert_eq!(of(&format!("{german}\n{code}")), Some("deu"));
    }
}
