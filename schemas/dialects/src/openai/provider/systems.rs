//! Words of the system in the midst of a conversation, as Claude Code and Codex write them, for servers that take them at its
//! beginning alone: the chat templates of open models refuse others, and so does Mistral. Knows no provider.
//! Source: <https://github.com/mistralai/mistral-common/blob/main/src/mistral_common/protocol/instruct/validator.py>.

use penstock_schemas::chat::{Content, Message, Part};

/// The messages with later words of the system in a message of the user's, marked as such.
pub(crate) fn lead(messages: Vec<Message>) -> Vec<Message> {
    let leading = messages.iter().take_while(|message| is_system(message)).count();
    if !messages[leading..].iter().any(is_system) {
        return messages;
    }
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    // Whether the last message is the user's and ends with such words: what the user says next goes on there, because
    // templates of some models want the user and the assistant in turn.
    let mut is_open = false;
    for (at, message) in messages.into_iter().enumerate() {
        if at >= leading && is_system(&message) {
            let text = message.content.map(|content| content.text()).unwrap_or_default();
            if text.trim().is_empty() {
                continue;
            }
            let said = Part::text(reminder(&text));
            match out.last_mut().filter(|last| last.role == "user") {
                Some(last) => append(last, vec![said]),
                None => out.push(Message {
                    role: "user".to_owned(),
                    content: Some(Content::Parts(vec![said])),
                    ..Message::default()
                }),
            }
            is_open = true;
            continue;
        }
        match out.last_mut().filter(|_| is_open && message.role == "user") {
            Some(last) => append(last, message.content.map(Content::into_parts).unwrap_or_default()),
            None => out.push(message),
        }
        is_open = false;
    }
    out
}

/// Words of the system's in a turn of the user's, marked as Claude Code marks its own.
pub(crate) fn reminder(text: &str) -> String {
    format!("<system-reminder>\n{text}\n</system-reminder>")
}

/// The messages with what the system says at their beginning in one: templates of some models take no second.
pub(crate) fn as_one(mut messages: Vec<Message>) -> Vec<Message> {
    let leading = messages.iter().take_while(|message| is_system(message)).count();
    if leading < 2 {
        return messages;
    }
    let rest = messages.split_off(leading);
    let mut all = messages.into_iter();
    let Some(mut first) = all.next() else { return rest };
    for message in all {
        first.cache_control = message.cache_control.or(first.cache_control.take());
        first.content = match (first.content.take(), message.content) {
            (Some(Content::Text(first)), Some(Content::Text(more))) => {
                Some(Content::Text(format!("{first}\n\n{more}")))
            }
            (Some(first), Some(more)) => Some(Content::Parts([first.into_parts(), more.into_parts()].concat())),
            (first, more) => first.or(more),
        };
    }
    std::iter::once(first).chain(rest).collect()
}

fn is_system(message: &Message) -> bool {
    matches!(message.role.as_str(), "system" | "developer")
}

fn append(message: &mut Message, more: Vec<Part>) {
    let mut all = message.content.take().map(Content::into_parts).unwrap_or_default();
    all.extend(more);
    message.content = Some(Content::Parts(all));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn led(messages: &Value) -> String {
        let messages: Vec<Message> = serde_json::from_value(messages.clone()).unwrap();
        let said = |message: &Message| {
            let text = message.content.as_ref().map(Content::text).unwrap_or_default().replace('\n', "");
            format!("{} {}", message.role, text.replace("<system-reminder>", "[").replace("</system-reminder>", "]"))
        };
        lead(messages).iter().map(said).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_the_system_says_first_is_one_message() {
        let one = |messages: Value| {
            let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
            as_one(messages).iter().map(|message| json!(message)).collect::<Value>()
        };
        let user = json!({"role": "user", "content": "a"});
        let (system, developer) =
            (json!({"role": "system", "content": "S"}), json!({"role": "developer", "content": "D"}));
        assert_eq!(one(json!([system, user])), json!([system, user]));
        assert_eq!(one(json!([system, developer, user])), json!([{"role": "system", "content": "S\n\nD"}, user]));
        let parts = json!({"role": "system", "content": [{"type": "text", "text": "P"}]});
        let both = json!([{"type": "text", "text": "P"}, {"type": "text", "text": "S"}]);
        assert_eq!(one(json!([parts, system])), json!([{"role": "system", "content": both}]));
    }

    #[test]
    fn later_words_of_the_system_are_said_with_the_users() {
        let of = |roles: &[(&str, &str)]| {
            led(&roles.iter().map(|(role, text)| json!({"role": role, "content": text})).collect())
        };
        let first = [("system", "S"), ("developer", "D"), ("user", "a")];
        assert_eq!(of(&first), "system S, developer D, user a");
        let then = |more: &[(&str, &str)]| of(&[&first[..], more].concat()).replace("system S, developer D, ", "");
        assert_eq!(then(&[("system", "x"), ("assistant", "b")]), "user a[x], assistant b");
        assert_eq!(then(&[("assistant", "b"), ("system", "x"), ("user", "c")]), "user a, assistant b, user [x]c");
        assert_eq!(
            then(&[("tool", "r"), ("system", "x"), ("assistant", "b")]),
            "user a, tool r, user [x], assistant b"
        );
        assert_eq!(then(&[("system", " "), ("user", "c")]), "user a, user c");
    }
}
