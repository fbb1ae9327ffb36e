//! How a conversation begins and ends, for providers that want a question of the user's at both. Knows no provider.
//!
//! OpenAI answers a conversation of system prompts alone, one that begins with an answer, and one that ends with a system
//! prompt. Others refuse these, since they keep system prompts apart: so a system prompt that stands where the question should
//! becomes the user's, and a greeting of the user's stands before an answer to nothing.

use crate::fit::Fit;
use penstock_schemas::chat::Message;

/// What the user says before an answer to nothing.
pub(crate) const GREETING: &str = "Hello.";

/// Makes the last system prompt a question, where nothing but an answer stands before it; its role is named as changed.
pub(crate) fn question(messages: &mut [Message], fit: &mut Fit) {
    let is_system = |message: &Message| matches!(message.role.as_str(), "system" | "developer");
    let says = |message: &Message| message.content.as_ref().is_some_and(|content| !content.text().trim().is_empty());
    let before = messages.iter().rposition(|message| !is_system(message));
    if before.is_some_and(|at| messages[at].role != "assistant" || messages[at].tool_calls.is_some()) {
        return;
    }
    let from = before.map_or(0, |at| at + 1);
    let Some(at) = messages.iter().rposition(says).filter(|at| *at >= from) else { return };
    "user".clone_into(&mut messages[at].role);
    fit.omit(format!("messages[{at}].role"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::chat::Content;
    use penstock_schemas::envelope::Unsupported;

    #[test]
    fn a_system_prompt_where_the_question_should_stand_becomes_the_users() {
        for (roles, changed) in [
            (&["system"][..], Some(0)),
            (&["system", "developer"], Some(1)),
            (&["user", "assistant", "system"], Some(2)),
            (&["user", "system"], None),
            (&["system", "user"], None),
            (&["user", "assistant"], None),
            (&[], None),
        ] {
            let message = |role: &&str| Message {
                role: (*role).to_owned(),
                content: Some(Content::Text("x".to_owned())),
                ..Message::default()
            };
            let mut messages: Vec<Message> = roles.iter().map(message).collect();
            let mut fit = Fit::new(Unsupported::Refuse);
            question(&mut messages, &mut fit);
            let named: Vec<String> = changed.iter().map(|at| format!("messages[{at}].role")).collect();
            assert_eq!(fit.dropped(), named, "{roles:?}");
            assert!(changed.is_none_or(|at: usize| messages[at].role == "user"), "{roles:?}");
        }
    }
}
